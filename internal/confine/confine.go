package confine

// environment is a variable that is set only in the child. Its value is the kind of confinement: network, mounts or
// processes.
const environment = "MESHTLS_CONFINED"

// Options select further confinement.
type Options struct {
	Network bool // run the tests in a network namespace that has only loopback, which is up; see the function Network
}
