//go:build unix && !linux

package vfs

// WriteVec writes the buffers one by one.
func (f *file) WriteVec(bufs [][]byte, off int64) error {
	for _, b := range bufs {
		n, err := f.WriteAt(b, off)
		if err != nil {
			return err
		}
		off += int64(n)
	}
	return nil
}

// SyncData flushes all there is.
func (f *file) SyncData() error { return f.Sync() }
