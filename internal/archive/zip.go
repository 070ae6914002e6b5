package archive

import (
	"archive/zip"
	"io/fs"
)

// packedSize is how many octets a file has in its zip file; false of any other file.
func packedSize(info fs.FileInfo) (int64, bool) {
	if h, ok := info.Sys().(*zip.FileHeader); ok {
		return int64(h.CompressedSize64), true
	}
	return 0, false
}
