package htmlreport

import (
	"bufio"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"text/template/parse"
)

// trusted is text of the page itself, which is written as it is. All other values are escaped.
type trusted string

// The page is a template of html/template, of which execute runs the part that the page needs. Package html/template itself calls methods
// by name, so the linker keeps all methods of all types: with the Kubernetes API 20 MB. The tests compare the outputs of both.

// trees has the parsed templates by name.
var trees = func() map[string]*parse.Tree {
	all, err := parse.Parse("page", pageText, "", "", map[string]any{"eq": true, "len": true, "not": true, "or": true})
	if err != nil {
		panic(err)
	}
	return all
}()

// executor writes a template. It panics where the template has what it does not know, which depends on the template only.
type executor struct {
	w         *bufio.Writer // remembers its first error
	variables map[string]reflect.Value
}

// execute writes the template name with the value dot.
func execute(w *bufio.Writer, name string, dot reflect.Value) {
	x := &executor{w: w, variables: map[string]reflect.Value{}}
	x.walk(dot, trees[name].Root)
}

func (x *executor) walk(dot reflect.Value, node parse.Node) {
	switch n := node.(type) {
	case *parse.ListNode:
		if n != nil {
			for _, child := range n.Nodes {
				x.walk(dot, child)
			}
		}
	case *parse.TextNode:
		_, _ = x.w.Write(n.Text)
	case *parse.ActionNode:
		x.print(x.pipeline(dot, n.Pipe))
	case *parse.IfNode:
		if isTrue(x.pipeline(dot, n.Pipe)) {
			x.walk(dot, n.List)
		} else {
			x.walk(dot, n.ElseList)
		}
	case *parse.RangeNode:
		x.each(dot, n)
	case *parse.TemplateNode:
		execute(x.w, n.Name, x.pipeline(dot, n.Pipe))
	default:
		panic(fmt.Sprintf("unknown node in the page: %s", node))
	}
}

// each writes the body of a range for each item. Variables are its index and the item.
func (x *executor) each(dot reflect.Value, n *parse.RangeNode) {
	list := x.pipeline(dot, n.Pipe)
	for i := range list.Len() {
		for k, v := range n.Pipe.Decl {
			value := list.Index(i)
			if k == 0 && len(n.Pipe.Decl) == 2 {
				value = reflect.ValueOf(i)
			}
			x.variables[v.Ident[0]] = value
		}
		x.walk(list.Index(i), n.List)
	}
	if list.Len() == 0 {
		x.walk(dot, n.ElseList)
	}
}

// pipeline returns the value of a pipeline with one command: a value, or a function with values.
func (x *executor) pipeline(dot reflect.Value, p *parse.PipeNode) reflect.Value {
	args := p.Cmds[0].Args
	function, ok := args[0].(*parse.IdentifierNode)
	if !ok || len(p.Cmds) != 1 {
		return x.value(dot, args[0])
	}
	var values []reflect.Value
	for _, a := range args[1:] {
		values = append(values, x.value(dot, a))
	}
	switch first := values[0]; function.Ident {
	case "eq":
		return reflect.ValueOf(text(first) == text(values[1]))
	case "len":
		return reflect.ValueOf(first.Len())
	case "not":
		return reflect.ValueOf(!isTrue(first))
	default: // or
		if isTrue(first) {
			return first
		}
		return values[1]
	}
}

func (x *executor) value(dot reflect.Value, node parse.Node) reflect.Value {
	switch n := node.(type) {
	case *parse.DotNode:
		return dot
	case *parse.FieldNode:
		return field(dot, n.Ident)
	case *parse.VariableNode:
		return field(x.variables[n.Ident[0]], n.Ident[1:])
	case *parse.StringNode:
		return reflect.ValueOf(n.Text)
	case *parse.NumberNode:
		return reflect.ValueOf(n.Int64)
	}
	panic(fmt.Sprintf("unknown value in the page: %s", node))
}

func field(v reflect.Value, names []string) reflect.Value {
	for _, name := range names {
		v = reflect.Indirect(v).FieldByName(name)
	}
	return v
}

// isTrue reports whether a value is neither zero nor empty.
func isTrue(v reflect.Value) bool {
	if v.Kind() == reflect.Slice {
		return v.Len() > 0
	}
	return !v.IsZero()
}

// text returns a string or a number as text.
func text(v reflect.Value) string {
	switch {
	case v.Kind() == reflect.String:
		return v.String()
	case v.CanUint():
		return strconv.FormatUint(v.Uint(), 10)
	}
	return strconv.FormatInt(v.Int(), 10)
}

// escaper is that of html/template for text and for attributes in quotes.
var escaper = strings.NewReplacer("\x00", "\uFFFD", `"`, "&#34;", "&", "&amp;", "'", "&#39;", "+", "&#43;", "<", "&lt;", ">", "&gt;")

func (x *executor) print(v reflect.Value) {
	if v.Type() == reflect.TypeFor[trusted]() {
		_, _ = x.w.WriteString(v.String())
		return
	}
	_, _ = escaper.WriteString(x.w, text(v))
}
