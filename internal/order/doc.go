// Package order sorts slices with one implementation for all element types. [slices.SortFunc] and [slices.SortStableFunc] are compiled for each
// type, which takes 5 to 10 KB of the program each time. Sorting is two to three times slower here, so the package is for code that runs once in a while.
package order
