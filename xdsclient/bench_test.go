package xdsclient

func benchChild() {}
