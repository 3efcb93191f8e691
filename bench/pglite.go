package bench

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// pglite is PGlite in a process of Node.
type pglite struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Scanner
	ef  int
}

// errNoPGlite says what is missing.
var errNoPGlite = errors.New("PGlite is left out: install Node, and run npm install --no-package-lock in the folder pglite")

type pgliteCommand struct {
	Do      string `json:"do"`
	Dir     string `json:"dir,omitempty"`
	Data    string `json:"data,omitempty"`
	Asked   string `json:"queries_file,omitempty"`
	Rows    int    `json:"rows,omitempty"`
	Dims    int    `json:"dims,omitempty"`
	K       int    `json:"k,omitempty"`
	Effort  int    `json:"ef,omitempty"`
	Queries []int  `json:"queries,omitempty"`
}

type pgliteAnswer struct {
	Error   string    `json:"error"`
	Version string    `json:"version"`
	Indexed bool      `json:"indexed"`
	IDs     [][]int   `json:"ids"`
	MS      []float64 `json:"ms"`
}

// startPGlite loads the vectors into a new database in dir and indexes them. The error is errNoPGlite
// where it is not installed.
func startPGlite(ctx context.Context, folder, dir string, d *made, k int) (p *pglite, version string, err error) {
	node, err := exec.LookPath("node")
	if err == nil {
		_, err = os.Stat(filepath.Join(folder, "node_modules"))
	}
	if err != nil {
		return nil, "", errNoPGlite
	}
	data, asked := filepath.Join(dir, "pglite.f32"), filepath.Join(dir, "pglite.queries.f32")
	if err := errors.Join(writeFloats(data, d.rows), writeFloats(asked, d.queries)); err != nil {
		return nil, "", err
	}
	p = &pglite{cmd: exec.CommandContext(ctx, node, filepath.Join(folder, "pglite.mjs"))} //nolint:gosec // the script is ours
	p.cmd.Stderr = os.Stderr
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, "", err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, "", err
	}
	p.out = bufio.NewScanner(out)
	p.out.Buffer(nil, 64<<20)
	if err := p.cmd.Start(); err != nil {
		return nil, "", err
	}
	if _, err = p.do(pgliteCommand{Do: "load", Dir: filepath.Join(dir, "pglite"), Data: data, Asked: asked, Rows: d.len(), Dims: d.dims, K: k}); err != nil {
		return nil, "", errors.Join(err, p.close())
	}
	a, err := p.do(pgliteCommand{Do: "index"})
	if err != nil {
		return nil, "", errors.Join(err, p.close())
	}
	return p, a.Version, os.Remove(data)
}

func writeFloats(path string, f []float32) error {
	b := make([]byte, 4*len(f))
	for i, x := range f {
		binary.LittleEndian.PutUint32(b[4*i:], math.Float32bits(x))
	}
	return os.WriteFile(path, b, 0o600)
}

func (p *pglite) do(c pgliteCommand) (a pgliteAnswer, err error) {
	line, err := json.Marshal(c)
	if err != nil {
		return a, err
	}
	if _, err := p.in.Write(append(line, '\n')); err != nil {
		return a, fmt.Errorf("PGlite: %w", err)
	}
	if !p.out.Scan() {
		return a, fmt.Errorf("PGlite ended: %w", errors.Join(p.out.Err(), io.ErrUnexpectedEOF))
	}
	if err := json.Unmarshal(p.out.Bytes(), &a); err != nil {
		return a, err
	}
	if a.Error != "" {
		return a, fmt.Errorf("PGlite: %s", a.Error)
	}
	return a, nil
}

// effort sets hnsw.ef_search.
func (p *pglite) effort(ef int) error { return p.prepared("effort", ef) }

// reopen closes the database and opens it again.
func (p *pglite) reopen() error { return p.prepared("reopen", p.ef) }

func (p *pglite) prepared(what string, ef int) error {
	p.ef = ef
	a, err := p.do(pgliteCommand{Do: what, Effort: ef})
	if err == nil && !a.Indexed {
		err = errors.New("PGlite does not use its index")
	}
	return err
}

// ask makes queries one after the other; the times are what Node measures.
func (p *pglite) ask(queries []int) (found [][]int, took []time.Duration, err error) {
	a, err := p.do(pgliteCommand{Do: "run", Queries: queries})
	for _, ms := range a.MS {
		took = append(took, time.Duration(ms*float64(time.Millisecond)))
	}
	return a.IDs, took, err
}

func (p *pglite) close() error { return errors.Join(p.in.Close(), p.cmd.Wait()) }
