package sdk

// How a plugin and mlist find each other. A plugin in another language needs these;
// one that calls Serve does not.
const (
	// CookieKey and CookieValue tell a program that mlist started it (an environment
	// variable, as go-plugin wants it). They are no secret.
	CookieKey   = "MLIST_PLUGIN"
	CookieValue = "6b7f3f0e-a-handler-of-posts"
	// ProtocolVersion is the version of the contract in proto/plugin.proto.
	ProtocolVersion = 1
	// PluginSet is the name under which go-plugin knows the service.
	PluginSet = "mlist"
	// MaxMessage bounds a request and a reply, in bytes.
	MaxMessage = 16 << 20
	// Window is how much of a message either side sends before the other one has read, in bytes.
	Window = 1 << 20
	// LifelineKey names the environment variable that holds the number of a file
	// descriptor, the reading end of a pipe. The pipe ends when mlist ends, however
	// that happens, and the plugin must end then.
	LifelineKey = "MLIST_PLUGIN_LIFELINE"
	// GraceKey names the environment variable that says how long after its deadline a
	// call may still run (a Go duration). With a call that takes longer, Health fails,
	// and mlist replaces the process.
	GraceKey = "MLIST_PLUGIN_GRACE"
)

// defaultGrace is used without GraceKey.
const defaultGrace = "5s"
