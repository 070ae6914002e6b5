package limits

// Keys is how many are counted.
func (l *Limits) Keys() int {
	l.table.mu.Lock()
	defer l.table.mu.Unlock()
	return len(l.table.keys)
}
