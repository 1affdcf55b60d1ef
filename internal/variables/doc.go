// Package variables reads a program's settings from its environment, into a struct whose fields have the tags of caarlos0/env and two more:
// about (the line of --help) and expected (what the error for an invalid value says; by default the text of about).
//
// Order of use: [Of] turns os.Environ into a map, [Parse] fills in the struct and returns an [Unusable] for each invalid variable, and [Help]
// prints all of them with their defaults.
package variables
