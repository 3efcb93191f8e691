package services

import (
	"context"
	"go/ast"
	"go/parser"
	"go/token"
	"reflect"
	"testing"
)

// TestEveryCallHasASpan looks for calls of the presenter that were forgotten.
func TestEveryCallHasASpan(t *testing.T) {
	t.Parallel()
	f, err := parser.ParseFile(token.NewFileSet(), "traced.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	own := map[string]bool{}
	for _, d := range f.Decls {
		if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv != nil {
			own[fn.Name.Name] = true
		}
	}
	// They run no statement, or one that is a span already.
	without := map[string]bool{"Begin": true, "JoinTx": true, "JoinGorm": true, "Gorm": true}
	p := reflect.TypeFor[Presenter]()
	for i := range p.NumMethod() {
		m := p.Method(i)
		takesContext := m.Type.NumIn() > 0 && m.Type.In(0) == reflect.TypeFor[context.Context]()
		if takesContext && own[m.Name] == without[m.Name] {
			t.Errorf("%s in traced.go: got %t, want %t", m.Name, own[m.Name], !without[m.Name])
		}
	}
}
