package server

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"

	"github.com/runwire/runwire/agent"
	"github.com/runwire/runwire/agent/tool"
	"github.com/runwire/runwire/store"
)

// foundNotes is how many notes a run or a model is given at most.
const foundNotes = 20

// notes are a user's memories as runs have them.
type notes struct {
	memories store.Memories
	most     int // of the user's memories; 0 is any number
	tenant   string
	user     string
	// session is what saved notes are deleted with; empty for none.
	session string
}

// notesOf makes the notes that a run of a user has, at most so many.
func notesOf(memories store.Memories, most int) func(tenant, user, session string) tool.Memory {
	return func(tenant, user, session string) tool.Memory {
		return &notes{memories: memories, most: most, tenant: tenant, user: user, session: session}
	}
}

// Save implements tool.Memory: the same call always makes the same memory.
func (n *notes) Save(ctx context.Context, text string) error {
	id, err := memoryID(tool.CallKey(ctx))
	if err != nil {
		return err
	}
	_, err = n.memories.SaveMemory(ctx, store.Memory{
		Tenant: n.tenant, ID: id, UserID: n.user, SessionID: n.session, Text: text,
	}, n.most)
	if errors.Is(err, store.ErrFull) {
		return tool.ErrFull
	}
	return err
}

const memoryPrefix = "mem_"

// memoryID is a call's own; without a call it is a new one.
func memoryID(callKey string) (string, error) {
	if callKey == "" {
		return agent.NewID(memoryPrefix)
	}
	const length = 16
	sum := sha256.Sum256([]byte(callKey))
	return memoryPrefix + hex.EncodeToString(sum[:length]), nil
}

// Search implements tool.Memory.
func (n *notes) Search(ctx context.Context, query string) ([]string, error) {
	found, err := n.memories.SearchMemories(ctx, n.tenant, n.user, query, foundNotes)
	texts := make([]string, len(found))
	for i := range found {
		texts[i] = found[i].Text
	}
	return texts, err
}
