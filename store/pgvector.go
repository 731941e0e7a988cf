package store

import (
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strconv"
)

// usePgvector has PostgreSQL compare vectors where it has the extension
// pgvector, and may be told so: it is made known to the database if it is not.
// It returns the schema that has it, quoted; empty where vectors are bytes, and
// are compared by this process.
//
// Vectors that were bytes before are dropped, and their memories wait to be
// given new ones; processes that run on and know nothing of it can compare
// none until they are started again.
func usePgvector(ctx context.Context, db *sql.DB) (schema string, err error) {
	if schema, err = vectorType(ctx, db); err != nil || schema != "" {
		return schema, err
	}
	if schema, err = findPgvector(ctx, db); err != nil || schema == "" {
		return "", err
	}
	if err := changeVectors(ctx, db, schema); err != nil {
		return "", nil //nolint:nilerr // whoever does not own the table goes on with bytes
	}
	return vectorType(ctx, db)
}

// vectorType is the schema of the type that vectors are kept in, or empty for bytes.
func vectorType(ctx context.Context, db *sql.DB) (schema string, err error) {
	err = db.QueryRowContext(ctx, `SELECT CASE WHEN typname = 'vector' THEN quote_ident(nspname) ELSE '' END
		FROM pg_attribute JOIN pg_type ON pg_type.oid = atttypid JOIN pg_namespace ON pg_namespace.oid = typnamespace
		WHERE attrelid = CAST('memory_vectors' AS regclass) AND attname = 'vector' AND NOT attisdropped`).Scan(&schema)
	if errors.Is(err, sql.ErrNoRows) {
		err = errors.New("the vectors' column is gone: has pgvector been dropped?")
	}
	return schema, err
}

// findPgvector returns the schema that has pgvector, or empty.
func findPgvector(ctx context.Context, db *sql.DB) (schema string, err error) {
	const find = `SELECT coalesce((SELECT quote_ident(nspname) FROM pg_extension JOIN pg_namespace ON pg_namespace.oid = extnamespace
		WHERE extname = 'vector' AND has_schema_privilege(pg_namespace.oid, 'USAGE')), ''),
		EXISTS (SELECT FROM pg_available_extensions WHERE name = 'vector')`
	var available bool
	if err := db.QueryRowContext(ctx, find).Scan(&schema, &available); err != nil || schema != "" || !available {
		return schema, err //nolint:wrapcheck // the caller says what it was
	}
	// No error of this is one: it may be forbidden, or another process was first.
	_, _ = db.ExecContext(ctx, "CREATE EXTENSION IF NOT EXISTS vector")
	err = db.QueryRowContext(ctx, find).Scan(&schema, &available)
	return schema, err //nolint:wrapcheck // the caller says what it was
}

// changeVectors makes the vectors' column one of pgvector's type, unless another
// process has.
func changeVectors(ctx context.Context, db *sql.DB, schema string) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("beginning: %w", err)
	}
	defer func() { _ = tx.Rollback() }() // nothing, once it is committed
	if _, err := tx.ExecContext(ctx, "SELECT pg_advisory_xact_lock($1)", migrationLockID); err != nil {
		return fmt.Errorf("waiting for another process: %w", err)
	}
	var changed bool
	err = tx.QueryRowContext(ctx, `SELECT atttypid <> CAST('bytea' AS regtype) FROM pg_attribute
		WHERE attrelid = CAST('memory_vectors' AS regclass) AND attname = 'vector'`).Scan(&changed)
	if err != nil || changed {
		return err //nolint:wrapcheck // nobody is told
	}
	for _, statement := range []string{
		"TRUNCATE memory_vectors",
		"UPDATE memories SET vector_model = '', vector_time = 0 WHERE vector_model <> ''",
		"ALTER TABLE memory_vectors ALTER COLUMN vector TYPE " + schema + ".vector USING NULL",
	} {
		if _, err := tx.ExecContext(ctx, statement); err != nil {
			return fmt.Errorf("changing the vectors: %w", err)
		}
	}
	return tx.Commit() //nolint:wrapcheck // nobody is told
}

// vector is a vector as the driver takes it, and what a statement says of the
// parameter that it is.
func (d *dialect) vector(vector []float32, parameter string) (value any, said string) {
	if d.pgvector == "" {
		data := make([]byte, 0, len(vector)*floatBytes)
		for _, x := range vector {
			data = binary.LittleEndian.AppendUint32(data, math.Float32bits(x))
		}
		return data, parameter
	}
	text := []byte{'['}
	for i, x := range vector {
		if i > 0 {
			text = append(text, ',')
		}
		text = strconv.AppendFloat(text, float64(x), 'g', -1, 32)
	}
	// Of a query by itself, it is read once, and not for each row.
	return string(append(text, ']')), "(SELECT CAST(CAST(" + parameter + " AS TEXT) AS " + d.pgvector + ".vector))"
}

// compareInPostgres leaves the comparison to pgvector, exactly: no index of
// neighbours can tell users apart.
func compareInPostgres(ctx context.Context, q querier, tenant, userID string, near Near, depth int) ([]nearMemory, error) {
	value, parameter := q.dialect.vector(near.Vector, "$5")
	statement := "SELECT " + memoryColumns + ", 1 - distance FROM (SELECT " + memoryColumns +
		", CASE WHEN " + q.dialect.pgvector + ".vector_dims(memory_vectors.vector) = $6 THEN memory_vectors.vector OPERATOR(" +
		q.dialect.pgvector + ".<=>) " + parameter + " END AS distance" + newest + `) AS memories
		WHERE 1 - distance >= $7 ORDER BY distance, create_time DESC, memory_id DESC LIMIT $8`
	return query[nearMemory](ctx, q, statement, tenant, userID, near.Model, MaxCompared,
		value, len(near.Vector), near.Floor, depth)
}
