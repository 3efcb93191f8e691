package engine

import (
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
)

// Target is what a DSN names.
type Target struct {
	Engine string
	// DSN is the connection string of a Postgres.
	DSN string
	// Path is the absolute path of an SQLite file; "" for one in memory.
	Path string
}

// ParseDSN understands sqlite:///path/file.db, sqlite://relative.db, sqlite::memory:, :memory:, a
// bare path, postgres:// and postgresql://. Anything else is ErrInvalid.
func ParseDSN(dsn string) (Target, error) {
	lower := strings.ToLower(dsn)
	switch {
	case dsn == "":
		return Target{}, Invalidf("the DSN is empty: give a file name, sqlite:///path/file.db, sqlite::memory: or postgres://…")
	case strings.HasPrefix(lower, "postgres://"), strings.HasPrefix(lower, "postgresql://"):
		return Target{Engine: Postgres, DSN: dsn}, nil
	case lower == "sqlite::memory:", lower == ":memory:":
		return Target{Engine: SQLite}, nil
	case strings.HasPrefix(lower, "sqlite:"):
		rest := dsn[len("sqlite:"):]
		rest = strings.TrimPrefix(rest, "//")
		if before, _, found := strings.Cut(rest, "?"); found {
			return Target{}, Invalidf("SQLite is set up through Config, not through parameters of the DSN: use sqlite://%s", before)
		}
		p, err := url.PathUnescape(rest)
		if err != nil {
			return Target{}, Invalidf("the path of the DSN is not well formed: %v", err)
		}
		return sqliteTarget(p)
	case strings.Contains(dsn, "://"):
		scheme, _, _ := strings.Cut(dsn, "://")
		return Target{}, Invalidf("%q is no engine talkbase knows: use sqlite:// or postgres://", scheme)
	case keywords.MatchString(dsn):
		return Target{}, Invalidf("this looks like keywords and values for Postgres: write them as postgres://user:password@host:port/database")
	default:
		return sqliteTarget(dsn)
	}
}

func sqliteTarget(p string) (Target, error) {
	if p == "" || strings.ContainsRune(p, 0) {
		return Target{}, Invalidf("the DSN names no file")
	}
	abs, err := filepath.Abs(p)
	if err != nil {
		return Target{}, err
	}
	return Target{Engine: SQLite, Path: abs}, nil
}

// keywords finds a keyword/value connection string, which must not become the name of a file: it
// may hold a password.
var keywords = regexp.MustCompile(`(?i)(^|\s)(host|dbname|password|user)\s*=`)

// keywordPassword finds a password in a keyword/value connection string.
var keywordPassword = regexp.MustCompile(`(?i)(password\s*=\s*)('[^']*'|\S+)`)

// Redact returns dsn without its password, for messages.
func Redact(dsn string) string {
	if strings.Contains(dsn, "://") {
		u, err := url.Parse(dsn)
		if err != nil {
			scheme, _, _ := strings.Cut(dsn, "://")
			return scheme + "://…"
		}
		q := u.Query()
		for _, k := range []string{"password", "sslpassword"} {
			if q.Has(k) {
				q.Set(k, "xxxxx")
				u.RawQuery = q.Encode()
			}
		}
		return u.Redacted()
	}
	return keywordPassword.ReplaceAllString(dsn, "${1}xxxxx")
}
