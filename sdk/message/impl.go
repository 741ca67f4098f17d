package message

type headerImpl struct{}
