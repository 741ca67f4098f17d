package main

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// watch samples the memory of a process and its children until the function that it
// returns is called, which tells the peak in bytes.
func watch(pid int) (peak func() int64) { return sample(pid, pss) }

// watchOwn is watch without the children.
func watchOwn(pid int) (peak func() int64) { return sample(pid, own) }

func sample(pid int, size func(int) int64) (peak func() int64) {
	stop, result := make(chan struct{}), make(chan int64)
	go func() {
		var most int64
		for {
			most = max(most, size(pid))
			select {
			case <-stop:
				result <- max(most, size(pid))
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
	}()
	return func() int64 { close(stop); return <-result }
}

// pss is the proportional set size of a process and all that descends from it.
func pss(pid int) int64 {
	sum := own(pid)
	for _, child := range children(pid) {
		sum += pss(child)
	}
	return sum
}

// own is the proportional set size of one process.
func own(pid int) int64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0 // it has ended
	}
	_, rest, ok := bytes.Cut(b, []byte("\nPss:"))
	if !ok {
		return 0
	}
	kib, _ := strconv.ParseInt(strings.Fields(string(rest))[0], 10, 64)
	return kib << 10
}
