// Package config reads and prints configuration files: YAML, strictly. What the keys mean stands beside each role.
package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"regexp"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// Load reads the file at path into v. An unknown key is a fault, and so is a second document.
func Load(path string, v any) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("read configuration: %w", err)
	}
	defer f.Close()
	if err := Read(f, v); err != nil {
		return fmt.Errorf("read configuration %s: %w", path, err)
	}
	return nil
}

// Read is Load for what is open already.
func Read(r io.Reader, v any) error {
	d := yaml.NewDecoder(r)
	d.KnownFields(true)
	err := d.Decode(v)
	if errors.Is(err, io.EOF) {
		return nil // an empty file asks for the defaults
	}
	if err != nil {
		return plainly(err)
	}
	if err := d.Decode(new(any)); !errors.Is(err, io.EOF) {
		return errors.New("more than one document")
	}
	return nil
}

// unknownKey is how the decoder tells of a key that there is not: by our types, which are no help in a file.
var unknownKey = regexp.MustCompile(`field (.*) not found in type \S+`)

// plainly tells the decoder's faults, one on each line, in words of the file.
func plainly(err error) error {
	var faults *yaml.TypeError
	if !errors.As(err, &faults) {
		return err
	}
	lines := []string{"see `mailfarm config print` for all keys"}
	for _, f := range faults.Errors {
		lines = append(lines, unknownKey.ReplaceAllString(f, `there is no key "$1" here`))
	}
	return errors.New(strings.Join(lines, "\n"))
}

// Print writes v as YAML. Values that differ from those of defaults are marked; both are of the same type.
func Print(w io.Writer, v, defaults any) error {
	node, err := toNode(v)
	if err != nil {
		return err
	}
	base, err := toNode(defaults)
	if err != nil {
		return err
	}
	mark(node, base)
	var buf bytes.Buffer
	e := yaml.NewEncoder(&buf)
	e.SetIndent(2)
	if err := e.Encode(node); err != nil {
		return fmt.Errorf("print configuration: %w", err)
	}
	_, err = w.Write(buf.Bytes())
	return err
}

func toNode(v any) (*yaml.Node, error) {
	var n yaml.Node
	if err := n.Encode(plain(reflect.ValueOf(v))); err != nil {
		return nil, fmt.Errorf("print configuration: %w", err)
	}
	return &n, nil
}

// mark writes a comment behind each value that is not the default's.
func mark(n, base *yaml.Node) {
	if n.Kind != yaml.MappingNode || base.Kind != yaml.MappingNode {
		return
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		value, def := n.Content[i+1], lookUp(base, n.Content[i].Value)
		if def == nil {
			continue
		}
		if value.Kind == yaml.MappingNode {
			mark(value, def)
			continue
		}
		if render(value) != render(def) {
			place := value
			if value.Kind == yaml.SequenceNode && len(value.Content) > 0 {
				place = n.Content[i] // a list begins on the line below
			}
			place.LineComment = "default: " + render(def)
		}
	}
}

func lookUp(n *yaml.Node, key string) *yaml.Node {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}

// render writes a value on one line.
func render(n *yaml.Node) string {
	c := *n
	c.Style = yaml.FlowStyle
	c.LineComment = ""
	b, err := yaml.Marshal(&c)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// plain turns structs into ordered mappings with readable durations; fields without a yaml name are left out.
func plain(v reflect.Value) any {
	switch {
	case !v.IsValid():
		return nil
	case v.Type() == reflect.TypeFor[time.Duration]():
		return v.Interface().(time.Duration).String()
	case v.Kind() == reflect.Pointer:
		return plain(v.Elem())
	case v.Kind() == reflect.Struct:
		n := &yaml.Node{Kind: yaml.MappingNode}
		for i := range v.NumField() {
			name, opts, _ := strings.Cut(v.Type().Field(i).Tag.Get("yaml"), ",")
			if opts == "inline" {
				if inner, ok := plain(v.Field(i)).(*yaml.Node); ok {
					n.Content = append(n.Content, inner.Content...)
				}
				continue
			}
			if name == "" || name == "-" {
				continue
			}
			var key, value yaml.Node
			key.SetString(name)
			if value.Encode(plain(v.Field(i))) == nil {
				n.Content = append(n.Content, &key, &value)
			}
		}
		return n
	case v.Kind() == reflect.Slice:
		items := make([]any, v.Len())
		for i := range items {
			items[i] = plain(v.Index(i))
		}
		return items
	}
	return v.Interface()
}
