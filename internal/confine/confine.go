package confine

// environment is set for the child.
const environment = "MESHTLS_CONFINED"

// Options say what else the tests get of their own.
type Options struct {
	Network bool // a network namespace with only loopback, which is up; see Network
}
