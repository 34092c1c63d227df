// Words for connections that are not made, or break.

import LoopSupport
import NIOCore
import NIOPosix
import Testing

@Suite struct ConnectionTroubleTests {
    private func failure(to host: String, _ port: Int) async throws -> any Error {
        try await #require(throws: (any Error).self) {
            try await ClientBootstrap(group: .singletonMultiThreadedEventLoopGroup).connect(host: host, port: port)
                .get()
        }
    }

    @Test func whatTheSystemSays() {
        let error = IOError(errnoCode: ECONNRESET, reason: "read(descriptor:pointer:size:)")
        #expect(ConnectionTrouble.words(for: error) == "Connection reset by peer")
        #expect(ConnectionTrouble.words(for: ChannelError.connectTimeout(.seconds(1))) == "no connection in time")
    }

    @Test func refused() async throws {
        let server = try await ScriptedServer()
        let port = server.port
        try await server.stop()
        let error = try await failure(to: "localhost", port)
        // However many addresses the name has.
        #expect(ConnectionTrouble.words(for: error) == "Connection refused", "\(error)")
    }

    @Test func theNameDoesNotExist() async throws {
        let words = ConnectionTrouble.words(for: try await failure(to: "no.such.host.invalid", 80))
        #expect(words.hasPrefix("no.such.host.invalid was not found: "))
        #expect(!words.contains("SocketAddressError") && !words.contains("port"), "\(words)")
    }
}
