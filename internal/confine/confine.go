package confine

// environment is the variable that is set for the child: its confinement (network, mounts or
// processes).
const environment = "MESHTLS_CONFINED"

// Options select further confinement.
type Options struct {
	Network bool // run the tests in a network namespace with only loopback, which is up; see Network
}
