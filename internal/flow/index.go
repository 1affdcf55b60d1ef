package flow

import (
	"hash/maphash"
	"math/bits"
)

// index finds connections by their keys. It is a hash table with open addressing. An entry is a hash and a pointer; the
// key is not stored again, because a lookup reads the connection anyway. The hash is seeded, so that nobody can choose
// addresses and ports that collide.
type index struct {
	seed  [6]uint64
	slots []slot // the length is a power of two
	n     int    // slots in use: at most three quarters of all slots
}

// slot is an entry of the index. It is free if conn is nil.
type slot struct {
	hash uint64
	conn *Conn
}

const minSlots = 64

func newIndex() (x index) {
	seed := maphash.MakeSeed()
	for i := range x.seed {
		x.seed[i] = maphash.Comparable(seed, i)
	}
	x.slots = make([]slot, minSlots)
	return x
}

// hash mixes a key's words as wyhash does (https://github.com/wangyi-fudan/wyhash), and as Go's maps do on processors
// without AES instructions. AES instructions would read more bytes at a time than were just written, and stall.
func (x *index) hash(k *key) uint64 {
	s := &x.seed
	h := mix(k.aHigh^s[0], k.bHigh^s[1]) ^ mix(k.aLow^s[2], k.bLow^s[3])
	return mix(h^s[4]^uint64(k.zone), k.rest^s[5])
}

func mix(a, b uint64) uint64 {
	high, low := bits.Mul64(a, b)
	return high ^ low
}

// find returns the connection with key k, or nil. d must have the key k.
func (x *index) find(k *key, d *Decoded) *Conn {
	hash, mask := x.hash(k), uint64(len(x.slots)-1)
	for i := hash & mask; ; i = (i + 1) & mask {
		switch s := &x.slots[i]; {
		case s.conn == nil:
			return nil
		case s.hash == hash && s.conn.matches(k, d):
			return s.conn
		}
	}
}

// add enters c under a key that is not in the index.
func (x *index) add(k *key, c *Conn) {
	if 4*(x.n+1) > 3*len(x.slots) {
		old := x.slots
		x.slots = make([]slot, 2*len(old))
		for _, s := range old {
			if s.conn != nil {
				x.put(s)
			}
		}
	}
	x.n++
	x.put(slot{x.hash(k), c})
}

func (x *index) put(s slot) {
	mask := uint64(len(x.slots) - 1)
	i := s.hash & mask
	for x.slots[i].conn != nil {
		i = (i + 1) & mask
	}
	x.slots[i] = s
}

// remove removes a key of c. Displaced entries after the removed one move up.
func (x *index) remove(k *key, c *Conn) {
	hash, mask := x.hash(k), uint64(len(x.slots)-1)
	i := hash & mask
	for x.slots[i].hash != hash || x.slots[i].conn != c {
		if x.slots[i].conn == nil {
			return
		}
		i = (i + 1) & mask
	}
	for j := (i + 1) & mask; x.slots[j].conn != nil; j = (j + 1) & mask {
		if home := x.slots[j].hash & mask; (j-home)&mask >= (j-i)&mask {
			x.slots[i] = x.slots[j]
			i = j
		}
	}
	x.slots[i] = slot{}
	x.n--
}
