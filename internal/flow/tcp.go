package flow

type tcpState struct{}
