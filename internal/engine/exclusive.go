package engine

import "context"

// Exclusive needs no lock: one writes at a time.
func (e *sqliteEngine) Exclusive(ctx context.Context, f func(ctx context.Context) error) error {
	return f(ctx)
}

// Exclusive holds the lock of schema changes on a connection of its own. Two indexes that are built
// concurrently on one table wait for each other until one is cut off, and an index that is being built
// looks like one whose building was cut off.
func (e *postgresEngine) Exclusive(ctx context.Context, f func(ctx context.Context) error) (err error) {
	if e.pool.Stats().MaxOpenConnections == 1 {
		return f(ctx) // there would be no connection left for it
	}
	conn, err := e.pool.Conn(ctx)
	if err != nil {
		return withEnd(ctx, classifyPostgres(err))
	}
	defer func() { _ = conn.Close() }()
	if err := (schemaLock{}).SessionLock(ctx, conn); err != nil {
		return err
	}
	defer func() {
		if uerr := (schemaLock{}).SessionUnlock(context.WithoutCancel(ctx), conn); err == nil {
			err = uerr
		}
	}()
	return f(ctx)
}
