// Command compare reads captures with the tap and with tshark, and joins their results by connection. It prints how often they
// agree on the version, the cipher suite, the server name, JA3, JA3S, the offered ALPN names, and whether the server and
// the client sent a certificate.
//
//	go run ./test/compare [-v] [-tshark COMMAND] TAP FOLDER...
//
// TAP is the tap's binary. Each FOLDER is searched for captures. With -v each difference is listed: the capture, the
// connection, and both results. The exit status is 1 if values differ. A value that only one program has is not a
// difference. A broken capture is no failure: the part that could be read is compared.
//
// For the client's certificate, "yes" or "no" is the tap's own conclusion, which it also draws if certificates are encrypted.
// tshark draws no conclusions: "yes" means a Certificate message, "no" a ClientKeyExchange without one.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// patience bounds the time that one program may take for one capture.
const patience = 2 * time.Minute

func main() {
	verbose := flag.Bool("v", false, "list each difference")
	tshark := flag.String("tshark", "tshark", "tshark's `command`")
	flag.Parse()
	if flag.NArg() < 2 {
		fmt.Fprintln(os.Stderr, "usage: compare [-v] [-tshark COMMAND] TAP FOLDER...")
		os.Exit(2)
	}
	if _, err := exec.LookPath(*tshark); err != nil {
		fmt.Printf("compare: skipped: %v\n", err)
		return
	}
	if err := compare(os.Stdout, flag.Arg(0), *tshark, flag.Args()[1:], *verbose); err != nil {
		fmt.Fprintln(os.Stderr, "compare:", err)
		os.Exit(1)
	}
}

// compare writes the table for the captures in the folders. If verbose, it writes each difference before the table.
func compare(w io.Writer, tap, tshark string, folders []string, verbose bool) error {
	files, err := captures(folders)
	if err != nil {
		return err
	}
	names, version, err := suiteNames(tshark)
	if err != nil {
		return err
	}
	var total table
	broken := 0
	for _, file := range files {
		ours, err1 := readTap(tap, file, names)
		theirs, err2 := readTshark(tshark, file, names)
		if err := errors.Join(err1, err2); err != nil {
			broken++
			if verbose {
				fmt.Fprintf(w, "%s\tnot read completely\t%q\n", file, err)
			}
		}
		for _, p := range join(ours, theirs) {
			for _, d := range total.add(p) {
				if verbose {
					fmt.Fprintf(w, "%s\t%s\t%s\n", file, p.name(), d)
				}
			}
		}
	}
	fmt.Fprintf(w, "%d captures, %d of them not read completely; the tap and %s\n", len(files), broken, version)
	total.print(w)
	if total.both == 0 {
		return errors.New("no TLS connection was found by both")
	}
	if n := total.differences(); n > 0 {
		return fmt.Errorf("%d values differ", n)
	}
	return nil
}

// captures returns the captures in the folders, in order.
func captures(folders []string) ([]string, error) {
	var files []string
	for _, folder := range folders {
		err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
			name := strings.TrimSuffix(path, ".gz")
			if err == nil && !entry.IsDir() && slices.Contains([]string{".pcap", ".pcapng", ".cap"}, filepath.Ext(name)) {
				files = append(files, path)
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	if len(files) == 0 {
		return nil, errors.New("no captures in " + strings.Join(folders, ", "))
	}
	return files, nil
}

// run returns a command's output. If the command fails, run returns the error and the output that came before it.
func run(command string, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	out, err := exec.CommandContext(ctx, command, args...).Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		err = fmt.Errorf("%w: %s", err, strings.TrimSpace(string(exit.Stderr)))
	}
	return out, err
}
