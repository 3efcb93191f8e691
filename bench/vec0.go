package bench

import (
	"context"
	"database/sql"
	"errors"

	"github.com/talkbase/talkbase/models"
)

// vec0 is sqlite-vec's exact scan, as its documentation shows it. The vectors have length 1, so that
// its default distance, for which it has its fastest code, orders them as the cosine does.
type vec0 struct {
	path  string
	db    *sql.DB
	query map[int]*sql.Stmt // by k
}

func newVec0(ctx context.Context, path string, d *made) (*vec0, error) {
	v := &vec0{path: path}
	if err := v.open(ctx); err != nil {
		return nil, err
	}
	if _, err := v.db.ExecContext(ctx, "CREATE VIRTUAL TABLE items USING vec0(embedding float["+itoa(d.dims)+"])"); err != nil {
		return nil, errors.Join(err, v.close())
	}
	const batch = 5000
	for from := 0; from < d.len(); from += batch {
		tx, err := v.db.BeginTx(ctx, nil)
		if err != nil {
			return nil, errors.Join(err, v.close())
		}
		for i := from; i < min(from+batch, d.len()); i++ {
			if _, err := tx.ExecContext(ctx, "INSERT INTO items (rowid, embedding) VALUES (?, ?)", i, models.Vector(d.row(i)).Blob()); err != nil {
				return nil, errors.Join(err, tx.Rollback(), v.close())
			}
		}
		if err := tx.Commit(); err != nil {
			return nil, errors.Join(err, v.close())
		}
	}
	return v, nil
}

// open opens the file, or opens it anew.
func (v *vec0) open(ctx context.Context) error {
	if v.db != nil {
		if err := v.close(); err != nil {
			return err
		}
	}
	db, err := sql.Open(vec0Driver, "file:"+v.path)
	if err != nil {
		return err
	}
	v.db, v.query = db, map[int]*sql.Stmt{}
	v.db.SetMaxOpenConns(1)
	for _, pragma := range []string{"PRAGMA journal_mode=WAL", "PRAGMA mmap_size=8589934592"} {
		if _, err := v.db.ExecContext(ctx, pragma); err != nil {
			return errors.Join(err, v.close())
		}
	}
	return nil
}

func (v *vec0) close() error { return v.db.Close() }

func (v *vec0) nearest(ctx context.Context, query []float32, k int) (found []int, err error) {
	stmt := v.query[k]
	if stmt == nil {
		if stmt, err = v.db.PrepareContext(ctx, "SELECT rowid, distance FROM items WHERE embedding MATCH ? AND k = "+itoa(k)); err != nil {
			return nil, err
		}
		v.query[k] = stmt
	}
	rows, err := stmt.QueryContext(ctx, models.Vector(query).Blob())
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var id int
		var distance float64
		if err := rows.Scan(&id, &distance); err != nil {
			return nil, err
		}
		found = append(found, id)
	}
	return found, rows.Err()
}
