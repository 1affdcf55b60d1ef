package buffer

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// CheckSpool returns an error if a spool cannot use a directory, and otherwise a remark about the directory. A remark starts with a
// comma, or is empty. CheckSpool does not create the directory. If another tap has locked the directory, that is a remark and no
// error. The error contains setting, the name of the spool's setting.
func CheckSpool(dir, setting string) (remark string, err error) {
	_, err = os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		remark, err = ", which does not exist yet: a tap creates it", checkCreatable(dir)
	case err == nil:
		if err = checkDir(dir); errors.Is(err, errLocked) {
			remark, err = ", in use by a tap", nil
		}
	}
	if err != nil {
		return "", fmt.Errorf("%w: see %s", err, setting)
	}
	return remark, nil
}

// checkDir returns an error if a spool cannot use an existing directory.
func checkDir(dir string) error {
	lock, err := lockDir(dir)
	if err != nil {
		return err
	}
	defer lock.Close()
	g, err := createSegment(dir, tap, 1<<63)
	if err == nil {
		deleteFiles([]*segment{g})
	}
	return err
}

// checkCreatable returns an error if the missing directory dir cannot be created. It creates a directory with another name in the
// nearest parent that exists, and removes it.
func checkCreatable(dir string) error {
	parent := filepath.Dir(dir)
	for parent != filepath.Dir(parent) {
		if _, err := os.Stat(parent); !errors.Is(err, fs.ErrNotExist) {
			break
		}
		parent = filepath.Dir(parent)
	}
	temporary, err := os.MkdirTemp(parent, ".meshtls-tap-check-")
	if err != nil {
		return fmt.Errorf("%s cannot be created: %w", dir, err)
	}
	return os.Remove(temporary)
}
