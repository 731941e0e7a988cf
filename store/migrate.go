package store

import (
	"context"
	"database/sql"
	"embed"
	"fmt"
	"io/fs"

	"github.com/pressly/goose/v3"
)

//go:embed migrations/*.sql
var migrationFiles embed.FS

// migrate brings the database to this version's schema, each step in a
// transaction. The caller's options hold a lock, so that any number of
// processes may start at once.
func migrate(ctx context.Context, db *sql.DB, d *dialect, kind goose.Dialect, options ...goose.ProviderOption) error {
	migrations, err := d.migrations()
	if err != nil {
		return err
	}
	options = append(options, goose.WithGoMigrations(migrations...), goose.WithDisableGlobalRegistry(true))
	provider, err := goose.NewProvider(kind, db, nil, options...)
	if err != nil {
		return fmt.Errorf("preparing the migrations: %w", err)
	}
	if _, err := provider.Up(ctx); err != nil {
		return fmt.Errorf("migrating the database: %w", d.explain(err))
	}
	return nil
}

// migrations reads the embedded files into this dialect; a file's number is its version.
func (d *dialect) migrations() ([]*goose.Migration, error) {
	names, err := fs.Glob(migrationFiles, "migrations/*.sql")
	if err != nil {
		return nil, fmt.Errorf("listing the migrations: %w", err)
	}
	migrations := make([]*goose.Migration, 0, len(names))
	for _, name := range names {
		version, err := goose.NumericComponent(name)
		if err != nil {
			return nil, fmt.Errorf("numbering the migration %s: %w", name, err)
		}
		statements, err := migrationFiles.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("reading the migration %s: %w", name, err)
		}
		up := func(ctx context.Context, tx *sql.Tx) error {
			_, err := tx.ExecContext(ctx, d.words.Replace(string(statements)))
			return err //nolint:wrapcheck // goose says which migration it was
		}
		migrations = append(migrations, goose.NewGoMigration(version, &goose.GoFunc{RunTx: up}, nil))
	}
	return migrations, nil
}
