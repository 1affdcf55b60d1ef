package dissect_test

import (
	"encoding/hex"
	"fmt"

	"github.com/meshtls-tap/meshtls-tap/internal/dissect"
	"github.com/meshtls-tap/meshtls-tap/internal/iana"
)

// clientHello is the first TLS record of the client in RFC 8448, section 3.
const clientHello = "16030100c4" + "010000c00303cb34ecb1e78163ba1c38c6dacb196a6dffa21a8d9912ec18a2ef6283024dece7000006130113031302010000" +
	"910000000b0009000006736572766572ff01000100000a00140012001d0017001800190100010101020103010400230000003300260024001d002099381de560e4bd43" +
	"d23d8e435a7dbafeb3c06e51c13cae4d5413691e529aaf2c002b0003020304000d0020001e040305030603020308040805080604010501060102010402050206020202" +
	"002d00020101001c00024001"

// A session takes the bytes of both directions in any pieces. TLS returns what the handshake has shown so far.
func ExampleSession() {
	hello, err := hex.DecodeString(clientHello)
	if err != nil {
		fmt.Println(err)
		return
	}

	session := dissect.New()
	session.Data(dissect.Originator, 0, hello[:100], 0, 0)
	session.Data(dissect.Originator, 100, hello[100:], 0, 0)

	read := session.TLS().Hello
	fmt.Println(read.ServerName)
	fmt.Println(iana.CipherSuiteName(read.CipherSuites[0]))
	fmt.Println(read.JA4('t')) // over TCP

	// Output:
	// server
	// TLS_AES_128_GCM_SHA256
	// t13d030900_55b375c5d22e_59cd3dafc54d
}
