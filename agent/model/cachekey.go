package model

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
)

// cacheKey is the hash of what all runs of an agent begin with. Calls that have
// it in common are led to where their beginning is cached.
func cacheKey(req *Request) string {
	h := sha256.New()
	part := func(text string) {
		h.Write(strconv.AppendInt(nil, int64(len(text)), 10))
		h.Write([]byte(" " + text))
	}
	part(req.System)
	for i := range req.Tools {
		tool := &req.Tools[i]
		part(tool.Name)
		part(tool.Description)
		part(string(tool.Parameters))
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}
