// Package variables parses environment variables into a struct. Its fields have the tags of caarlos0/env and two more: about (the line in
// --help) and expected (the text in the error for an invalid value; default: the text of about).
//
// Order of use: [Of] turns os.Environ into a map, [Parse] fills in the struct and returns an [Unusable] for each invalid variable, and [Help]
// prints all of them with their defaults.
package variables
