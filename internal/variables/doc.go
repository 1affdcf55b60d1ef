// Package variables parses environment variables into a struct. The fields of the struct have the tags of caarlos0/env
// and three more tags. The tag group starts a group of variables in --help. The tag about describes the variable in --help. The tag expected is the text in the error for an
// invalid value; without it, the error has the text of about.
//
// Order of use: [Of] turns os.Environ into a map, [Parse] fills in the struct and returns an [Unusable] for each
// invalid variable, and [Help] prints all variables with their defaults.
package variables
