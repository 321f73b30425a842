/**
 * LuaSocket's sockets of the file system.
 */
declare module "socket.unix" {
	interface UnixSocket {
		/** Seconds after which a call gives up; "t" for those of the whole call. */
		settimeout(seconds: number, mode: "b" | "t"): void;
		/** Nil and an error where nobody listens. */
		connect(path: string): LuaMultiReturn<[number | undefined, string | undefined]>;
		send(data: string): LuaMultiReturn<[number | undefined, string | undefined]>;
		/** "*a": all until the other side closes; otherwise nil, an error and what has come. */
		receive(pattern: "*a"): LuaMultiReturn<[string | undefined, string | undefined, string | undefined]>;
		close(): void;
	}

	/** Makes a stream socket. Some versions of LuaSocket have this function in place of the module. */
	function stream(): UnixSocket;
}
