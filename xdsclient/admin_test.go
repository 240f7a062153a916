package xdsclient

func adminChild() {}
