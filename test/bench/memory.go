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

// cpuOf is the CPU time that a process and its children have taken so far, those that have
// ended and were waited for included.
func cpuOf(pid int) time.Duration {
	sum := int64(0)
	for _, p := range append(children(pid), pid) {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p))
		if err != nil {
			continue // it has ended
		}
		fields := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:]))
		for _, f := range fields[11:15] { // utime, stime, cutime, cstime
			n, err := strconv.ParseInt(f, 10, 64)
			if err == nil {
				sum += n
			}
		}
	}
	return time.Duration(sum) * 10 * time.Millisecond // USER_HZ is 100 everywhere
}
