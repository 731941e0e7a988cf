package store

import (
	"errors"
	"fmt"
)

// What can go wrong. The errors returned wrap these with what was being done.
var (
	// ErrNotFound: the tenant has no such row.
	ErrNotFound = errors.New("not found")
	// ErrExists: the id is taken.
	ErrExists = errors.New("already exists")
	// ErrInvalid: a value that can not be kept, such as an id with a NUL byte.
	ErrInvalid = errors.New("invalid value")
	// ErrPageToken: the page token was not made for this list.
	ErrPageToken = errors.New("invalid page token")
	// ErrIdempotencyConflict: the idempotency key was used with another request.
	ErrIdempotencyConflict = errors.New("idempotency key used with another request")
	// ErrConflict: the position written at is not the end. Somebody else has
	// written in between, or the same was written before.
	ErrConflict = errors.New("not at the end")
	// ErrFenced: whoever writes is no longer the one that may; it must stop.
	ErrFenced = errors.New("fenced off")
	// ErrCancelRequested: the task's cancel was requested, so that it can end
	// only CANCELLED.
	ErrCancelRequested = errors.New("cancel was requested")
	// ErrNotPending: the task waits for no decision about such a call.
	ErrNotPending = errors.New("not pending")
	// ErrSpendLimit: too little is left of what may be spent in the day.
	ErrSpendLimit = errors.New("spend limit reached")
	// ErrFull: there are as many as there may be.
	ErrFull = errors.New("no room for more")
	// ErrSessionBusy: another run has the session.
	ErrSessionBusy = errors.New("session is busy")
	// ErrUnavailable: the database can not do it now (unreachable, disk full,
	// read-only, I/O error). Later it may; nothing needs to be reopened.
	ErrUnavailable = errors.New("database unavailable")
	// ErrClosed: the store has been closed.
	ErrClosed = errors.New("store is closed")

	// ErrNotClaimable: the task exists and can not be claimed now. It is
	// always one of ErrEnded, ErrLeased and ErrNotDue.
	ErrNotClaimable = errors.New("task can not be claimed")
	// ErrEnded: the task has ended.
	ErrEnded = fmt.Errorf("%w: it has ended", ErrNotClaimable)
	// ErrLeased: a worker has it, and its lease has not run out.
	ErrLeased = fmt.Errorf("%w: a worker has it", ErrNotClaimable)
	// ErrNotDue: it is to start later, after an earlier task of its session, or
	// once a person has decided.
	ErrNotDue = fmt.Errorf("%w: it is not due", ErrNotClaimable)
)

// failing says what was being done when err happened; nil stays nil.
func failing(doing string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", doing, err)
}
