package archive

import (
	"archive/zip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"
)

// packedSize is how many octets a file has in its zip file; false of any other file.
func packedSize(info fs.FileInfo) (int64, bool) {
	if h, ok := info.Sys().(*zip.FileHeader); ok {
		return int64(h.CompressedSize64), true
	}
	return 0, false
}

// errEncrypted is a file of a zip file that only a password opens.
var errEncrypted = errors.New("encrypted")

// encrypted is the bit that tells so (APPNOTE.TXT §4.4.4).
const encrypted = 1

// zipTree has the files of a zip file by the names that stand in it. zip.Reader as fs.FS takes every "\" for a "/", and lists no
// directory in which a name is twice.
type zipTree struct {
	nodes map[string]*zipNode
	// doubts are files that are twice, lost are those that cannot be reached.
	doubts, lost []Doubt
}

// zipNode is a file or a directory.
type zipNode struct {
	name string
	file *zip.File // nil of a directory
	list []fs.DirEntry
}

func (n *zipNode) info() zipInfo { return zipInfo{n} }

// newZipTree reads the names. Between levels "/" stands (APPNOTE.TXT §4.4.17.1).
//
// QUIRK: programs on Windows wrote "\" there. So does no file that has a "/" in any name.
func newZipTree(files []*zip.File) *zipTree {
	t := &zipTree{nodes: map[string]*zipNode{".": {name: "."}}}
	windows := !slices.ContainsFunc(files, func(f *zip.File) bool { return strings.Contains(f.Name, "/") })
	for _, f := range files {
		name := f.Name
		if windows {
			name = strings.ReplaceAll(name, `\`, "/")
		}
		t.put(name, f)
	}
	for _, n := range t.nodes {
		slices.SortFunc(n.list, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	}
	return t
}

// put adds a file. Names that lead elsewhere are below the tree like all others.
func (t *zipTree) put(name string, f *zip.File) {
	at := path.Clean("/" + name)[1:]
	switch {
	case at == "":
		return
	case strings.Count(at, "/") > maxDepth:
		t.lost = append(t.lost, Doubt{at, errDepth})
		return
	}
	if strings.HasSuffix(name, "/") {
		t.directory(at)
		return
	}
	was := t.nodes[at]
	switch {
	case was == nil:
		if !t.directory(path.Dir(at)) {
			t.lost = append(t.lost, Doubt{at, errors.New("the zip file has a file where its directory should be")})
			return
		}
		t.add(&zipNode{name: at, file: f})
	case was.file == nil:
		t.lost = append(t.lost, Doubt{at, errors.New("the zip file has a directory of this name too")})
	case was.file.CRC32 == f.CRC32 && was.file.UncompressedSize64 == f.UncompressedSize64:
		t.doubts = append(t.doubts, Doubt{at, errors.New("twice in the zip file, and the same")})
	default: // what was added to a zip file stands behind what it replaces
		t.lost = append(t.lost, Doubt{at, fmt.Errorf("twice in the zip file: the one of %d octets is left, the later one of %d octets is read", was.file.UncompressedSize64, f.UncompressedSize64)})
		was.file = f
	}
}

// directory makes one with those above it; false where there is a file.
func (t *zipTree) directory(at string) bool {
	if n := t.nodes[at]; n != nil {
		return n.file == nil
	}
	if !t.directory(path.Dir(at)) {
		return false
	}
	t.add(&zipNode{name: at})
	return true
}

func (t *zipTree) add(n *zipNode) {
	t.nodes[n.name] = n
	above := t.nodes[path.Dir(n.name)]
	above.list = append(above.list, fs.FileInfoToDirEntry(n.info()))
}

func (t *zipTree) node(op, name string) (*zipNode, error) {
	if n := t.nodes[name]; n != nil {
		return n, nil
	}
	return nil, &fs.PathError{Op: op, Path: name, Err: fs.ErrNotExist}
}

// Open is fs.FS's. Directories are read by ReadDir alone.
func (t *zipTree) Open(name string) (fs.File, error) {
	n, err := t.node("open", name)
	if err != nil {
		return nil, err
	}
	switch {
	case n.file == nil:
		err = errors.New("is a directory")
	case n.file.Flags&encrypted != 0:
		err = errEncrypted
	default:
		var r io.ReadCloser
		if r, err = n.file.Open(); err == nil {
			return zipFile{r, n}, nil
		}
	}
	return nil, &fs.PathError{Op: "open", Path: name, Err: err}
}

// ReadDir is fs.ReadDirFS's.
func (t *zipTree) ReadDir(name string) ([]fs.DirEntry, error) {
	n, err := t.node("readdir", name)
	if err == nil && n.file != nil {
		err = &fs.PathError{Op: "readdir", Path: name, Err: errors.New("not a directory")}
	}
	if err != nil {
		return nil, err
	}
	return n.list, nil
}

// Stat is fs.StatFS's.
func (t *zipTree) Stat(name string) (fs.FileInfo, error) {
	n, err := t.node("stat", name)
	if err != nil {
		return nil, err
	}
	return n.info(), nil
}

type zipFile struct {
	io.ReadCloser
	node *zipNode
}

func (f zipFile) Stat() (fs.FileInfo, error) { return f.node.info(), nil }

// zipInfo tells of a node; the name is the tree's.
type zipInfo struct{ *zipNode }

func (i zipInfo) Name() string { return path.Base(i.name) }
func (i zipInfo) IsDir() bool  { return i.file == nil }

func (i zipInfo) Size() int64 {
	if i.file == nil {
		return 0
	}
	return i.file.FileInfo().Size()
}

func (i zipInfo) Mode() fs.FileMode {
	if i.file == nil {
		return fs.ModeDir | 0o500
	}
	return i.file.Mode() &^ fs.ModeDir // what the name tells counts
}

func (i zipInfo) ModTime() time.Time {
	if i.file == nil {
		return time.Time{}
	}
	return i.file.FileInfo().ModTime()
}

func (i zipInfo) Sys() any {
	if i.file == nil {
		return nil
	}
	return &i.file.FileHeader
}
