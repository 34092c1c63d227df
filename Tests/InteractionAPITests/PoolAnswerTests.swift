// Every form in which an answer can come, and what becomes of its connection.

import NIOCore
import Testing

@testable import InteractionAPI

@Suite(.timeLimit(.minutes(2))) struct PoolAnswerTests {
    @Test func requestsGoOutAsGiven() async throws {
        let server = try await ScriptedServer()
        try await withPool(server: server) { pool in
            async let call = pool.call(server.port, body: #"{"é":" "}"#)
            let request = await server.accept().readRequest()
            #expect(
                request
                    == WireRequest(
                        line: "POST /x HTTP/1.1", headers: ["host": "localhost", "content-length": "10"],
                        body: Array(#"{"é":" "}"#.utf8)))
            await pool.shutDown()
            _ = await call
        }
    }

    @Test func chunkedThenReused() async throws {
        let server = try await ScriptedServer()
        try await withPool(server: server) { pool in
            let answer = try await answered(pool, server) {
                $0.write("HTTP/1.1 202 Accepted\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n{\"s\r\n6;x=y\r\nuccess\r\n")
                $0.write("7\r\n\":true}\r\n0\r\nTrailer: x\r\n\r\n")
            }
            #expect(answer.body == Array(#"{"success":true}"#.utf8))
            #expect(!answer.bodyIsUnreadable)
            try await expectReuse(pool, server)
        }
    }

    @Test func byteByByte() async throws {
        let server = try await ScriptedServer()
        try await withPool(server: server) { pool in
            let answer = try await answered(pool, server) { peer in
                for character in "HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nContent-Length: 2\r\n\r\n{}" {
                    peer.write(String(character))
                }
            }
            #expect(answer == CallAnswer(status: 503, body: Array("{}".utf8), retryAfter: "7"))
            try await expectReuse(pool, server)
        }
    }

    @Test func interimAnswersAreNotTheAnswer() async throws {
        let server = try await ScriptedServer()
        try await withPool(server: server) { pool in
            let answer = try await answered(pool, server) {
                $0.write("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n")
                $0.answer()
            }
            #expect(answer.status == 202)
            try await expectReuse(pool, server)
        }
    }

    @Test func noContent() async throws {
        let server = try await ScriptedServer()
        try await withPool(server: server) { pool in
            let answer = try await answered(pool, server) { $0.write("HTTP/1.1 204 No Content\r\n\r\n") }
            #expect(answer == CallAnswer(status: 204, body: []))
            try await expectReuse(pool, server)
        }
    }

    @Test func redirectsAreNotFollowed() async throws {
        // Neither on this host, nor to another, which would be shown the token.
        let other = try await ScriptedServer()
        for isOther in [false, true] {
            let server = try await ScriptedServer()
            try await withPool(server: server) { pool in
                let port = isOther ? other.port : server.port
                let location = "Location: http://127.0.0.1:\(port)/elsewhere\r\n"
                let answer = try await answered(pool, server) {
                    $0.answer("307 Temporary Redirect", "", headers: location)
                }
                #expect(answer == CallAnswer(status: 307, body: []))
                #expect(server.acceptedCount == 1 && other.acceptedCount == 0)
            }
        }
        try await other.stop()
    }

    @Test(arguments: ["gzip", "br", "GZIP, identity"])
    func encodedBodiesAreUnreadable(encoding: String) async throws {
        let server = try await ScriptedServer()
        try await withPool(server: server) { pool in
            let answer = try await answered(pool, server) {
                $0.answer("202 Accepted", "{}", headers: "content-encoding: \(encoding)\r\n")
            }
            #expect(answer.status == 202 && answer.bodyIsUnreadable)
            try await expectReuse(pool, server)
        }
    }

    @Test func identityIsNoEncoding() async throws {
        let server = try await ScriptedServer()
        try await withPool(server: server) { pool in
            let answer = try await answered(pool, server) {
                $0.answer("202 Accepted", "{}", headers: "Content-Encoding: Identity\r\n")
            }
            #expect(answer == CallAnswer(status: 202, body: Array("{}".utf8)))
        }
    }

    // MARK: The connection ends with the answer

    @Test func otherTransferCodingsAreUnreadable() async throws {
        let server = try await ScriptedServer()
        try await withPool(server: server) { pool in
            // Its end is not waited for, since it could not be told.
            let answer = try await answered(pool, server) {
                $0.write("HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nTransfer-Encoding: gzip, chunked\r\n\r\n")
            }
            #expect(answer == CallAnswer(status: 503, body: [], retryAfter: "7", bodyIsUnreadable: true))
            #expect(await last.get()?.isClosedByClient() == true)
        }
    }

    @Test func anotherProtocolIsNotSpoken() async throws {
        let server = try await ScriptedServer()
        try await withPool(server: server) { pool in
            let answer = try await answered(pool, server) {
                $0.write("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n")
            }
            #expect(answer == CallAnswer(status: 101, body: []))
            #expect(await last.get()?.isClosedByClient() == true)
        }
    }

    @Test(arguments: [
        "HTTP/1.1 202 A\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}",
        "HTTP/1.0 202 A\r\nContent-Length: 2\r\n\r\n{}",
        "HTTP/1.1 202 A\r\nConnection: close\r\n\r\n{}",
        "HTTP/1.1 202 A\r\n\r\n{}",
        "HTTP/1.0 202 A\r\n\r\n{}",
    ])
    func closedByTheServer(answer: String) async throws {
        let server = try await ScriptedServer()
        try await withPool(server: server) { pool in
            for _ in 1...2 {
                async let call = pool.call(server.port)
                let peer = await server.accept()
                _ = await peer.readRequest()
                peer.write(answer)
                peer.closeOutput()
                #expect(await call.answer == CallAnswer(status: 202, body: Array("{}".utf8)))
                #expect(await peer.isClosedByClient())
            }
            #expect(server.acceptedCount == 2)
        }
    }

    @Test(arguments: [
        "HTTP/1.1 202 A\r\nContent-Length: 10\r\n\r\n{\"s",
        "HTTP/1.1 202 A\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n{\"s",
    ])
    func cutShort(answer: String) async throws {
        let server = try await ScriptedServer()
        try await withPool(server: server) { pool in
            let answer = try await answered(pool, server) {
                $0.write(answer)
                $0.closeOutput()
            }
            #expect(answer == CallAnswer(status: 202, body: Array("{\"s".utf8), bodyIsUnreadable: true))
        }
    }

    @Test func slowBody() async throws {
        let server = try await ScriptedServer()
        try await withPool({ $0.answerBodyTimeout = .milliseconds(50) }, server: server) { pool in
            let answer = try await answered(pool, server) { $0.write("HTTP/1.1 202 A\r\nContent-Length: 10\r\n\r\n{") }
            #expect(answer == CallAnswer(status: 202, body: Array("{".utf8), bodyIsUnreadable: true))
            // And the next call finds another connection.
            async let next = pool.call(server.port)
            let peer = await server.accept()
            _ = await peer.readRequest()
            peer.answer()
            #expect(await next.answer?.bodyIsUnreadable == false)
        }
    }

    @Test(arguments: ["Content-Length: 999999999999", "Transfer-Encoding: chunked"])
    func oversizeBody(framing: String) async throws {
        let server = try await ScriptedServer()
        try await withPool({ $0.answerBodyBytes = 10 }, server: server) { pool in
            let answer = try await answered(pool, server) {
                $0.write("HTTP/1.1 500 E\r\n\(framing)\r\n\r\n7\r\n1234567\r\n7\r\n8901234\r\n")
            }
            #expect(answer.status == 500 && answer.bodyIsUnreadable && answer.body.count == 10)
        }
    }

    @Test func aBodyOfExactlyTheBound() async throws {
        let server = try await ScriptedServer()
        try await withPool({ $0.answerBodyBytes = 10 }, server: server) { pool in
            let answer = try await answered(pool, server) { $0.answer("500 E", "0123456789") }
            #expect(answer == CallAnswer(status: 500, body: Array("0123456789".utf8)))
            try await expectReuse(pool, server)
        }
    }

    /// One call whose request is read and then answered by `reply`.
    private func answered(
        _ pool: HTTPPool, _ server: ScriptedServer, reply: @Sendable (Peer) -> Void
    ) async throws -> CallAnswer {
        async let call = pool.call(server.port)
        let peer = await server.accept()
        _ = try #require(await peer.readRequest())
        reply(peer)
        let result = await call
        last.set(peer)
        return try #require(result.answer, "\(result)")
    }

    /// A further call goes onto the same connection.
    private func expectReuse(_ pool: HTTPPool, _ server: ScriptedServer) async throws {
        async let call = pool.call(server.port)
        let peer = try #require(last.get())
        _ = try #require(await peer.readRequest())
        peer.answer("202 Accepted", "again")
        #expect(await call.answerBody == "again")
        #expect(server.acceptedCount == 1)
    }

    private let last = PeerBox()
}
