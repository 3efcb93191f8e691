package engine

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
)

func TestParseDSN(t *testing.T) {
	t.Parallel()
	abs := func(p string) string {
		a, err := filepath.Abs(p)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	for dsn, want := range map[string]Target{
		"sqlite:///var/lib/chat.db":    {Engine: SQLite, Path: "/var/lib/chat.db"},
		"sqlite://chat.db":             {Engine: SQLite, Path: abs("chat.db")},
		"sqlite:chat.db":               {Engine: SQLite, Path: abs("chat.db")},
		"sqlite:///a%20b.db":           {Engine: SQLite, Path: "/a b.db"},
		"sqlite::memory:":              {Engine: SQLite},
		":memory:":                     {Engine: SQLite},
		"chat.db":                      {Engine: SQLite, Path: abs("chat.db")},
		"/data/what?.db":               {Engine: SQLite, Path: "/data/what?.db"},
		"postgres://u:p@h/db":          {Engine: Postgres, DSN: "postgres://u:p@h/db"},
		"PostgreSQL://h/db?sslmode=no": {Engine: Postgres, DSN: "PostgreSQL://h/db?sslmode=no"},
	} {
		got, err := ParseDSN(dsn)
		if err != nil || got != want {
			t.Errorf("ParseDSN(%q) = %+v, %v; want %+v", dsn, got, err, want)
		}
	}
	for _, dsn := range []string{"", "mysql://h/db", "sqlite:///x.db?mode=ro", "sqlite://", "sqlite:///%zz", "a\x00b"} {
		if got, err := ParseDSN(dsn); !errors.Is(err, ErrInvalid) {
			t.Errorf("ParseDSN(%q) = %+v, %v; want ErrInvalid", dsn, got, err)
		}
	}
}

func FuzzParseDSN(f *testing.F) {
	for _, s := range []string{"sqlite:///x.db", "postgres://u:secret@h:1/db?password=secret", "a b", "%", "host=h password='se cret'"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if _, err := ParseDSN(s); err != nil && !errors.Is(err, ErrInvalid) {
			t.Errorf("ParseDSN(%q): %v is not ErrInvalid", s, err)
		}
		_ = Redact(s)
	})
}

func TestRedactHidesPasswords(t *testing.T) {
	t.Parallel()
	for _, dsn := range []string{
		"postgres://u:hunter2@h/db", "postgres://h/db?password=hunter2", "host=h password=hunter2",
		"host=h password='hunter2 x'", "postgres://u:hunter2@h:bad/db", "postgres://h/db?user=u&sslpassword=hunter2",
	} {
		if got := Redact(dsn); strings.Contains(got, "hunter2") {
			t.Errorf("Redact(%q) = %q", dsn, got)
		}
	}
	if got, want := Redact("/path/chat.db"), "/path/chat.db"; got != want {
		t.Errorf("Redact = %q, want %q", got, want)
	}
}
