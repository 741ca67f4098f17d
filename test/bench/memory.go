package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// watch samples the memory of a process and its children until the function that it
// returns is called, which tells the peak in bytes.
func watch(pid int) (peak func() int64) {
	stop, result := make(chan struct{}), make(chan int64)
	go func() {
		var most int64
		for {
			most = max(most, pss(pid))
			select {
			case <-stop:
				result <- max(most, pss(pid))
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
	}()
	return func() int64 { close(stop); return <-result }
}

// pss is the proportional set size of a process and all that descends from it.
func pss(pid int) int64 {
	var sum int64
	if b, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid)); err == nil {
		if _, rest, ok := bytes.Cut(b, []byte("\nPss:")); ok {
			kib, _ := strconv.ParseInt(strings.Fields(string(rest))[0], 10, 64)
			sum = kib << 10
		}
	}
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, t := range tasks {
		b, _ := os.ReadFile(t)
		for _, child := range strings.Fields(string(b)) {
			if n, err := strconv.Atoi(child); err == nil {
				sum += pss(n)
			}
		}
	}
	return sum
}
