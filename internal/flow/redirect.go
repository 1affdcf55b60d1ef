package flow

// Under a mesh's REDIRECT the loopback shows one connection with two faces: the client
// sends podIP:p > 127.0.0.1:15001, and is answered by 10.2.2.2:80 > podIP:p.

// face is the end that both faces share.
type face struct {
	addr  [16]byte
	port  uint16
	iface uint16
}

// maxFaces bounds the connections that may be waiting for their other face.
const maxFaces = 4096

// expectFace notes a connection whose answers may come from another address.
func (t *Table) expectFace(e *entry, d *Decoded, p *Packet) {
	if t.cfg.Loopback == nil || !t.cfg.Loopback(p.Interface) || d.Flags&flagACK != 0 && d.Flags&flagSYN != 0 || len(t.faces) >= maxFaces {
		return
	}
	t.faces[face{d.Src, d.SrcPort, p.Interface}] = e
}

func (t *Table) forgetFace(e *entry) {
	if t.cfg.Loopback == nil {
		return
	}
	f := face{e.orig, e.Orig.Port, e.Interface}
	if t.faces[f] == e {
		delete(t.faces, f)
	}
}

// paired finds the connection that a packet of an unknown tuple is the other face of:
// same client, and the sequence numbers fit.
func (t *Table) paired(k key, d *Decoded, p *Packet) *entry {
	if t.cfg.Loopback == nil || d.Transport != protoTCP || !t.cfg.Loopback(p.Interface) {
		return nil
	}
	e := t.faces[face{d.Dst, d.DstPort, p.Interface}]
	if e == nil || e.nkeys > 1 || e.Resp.Packets > 0 || d.Flags&flagACK == 0 {
		return nil
	}
	o := &e.tcp.side[Originator]
	at := o.offset(d.Ack)
	if d.Flags&flagSYN != 0 && (!o.synSeen || d.Ack != o.isn+1) || at < 0 || at > o.next+1 {
		return nil
	}
	if r := &e.tcp.side[Responder]; d.Flags&flagSYN == 0 && r.based {
		if far := r.offset(d.Seq); far < -1<<20 || far > 1<<20 {
			return nil
		}
	}
	e.keys[1], e.nkeys = k, 2
	t.conns[k] = e
	e.Redirected = Endpoint{Addr: e.Resp.Addr, Port: e.Resp.Port}
	e.Resp.Addr, e.Resp.Port = d.addr(d.Src), d.SrcPort
	return e
}
