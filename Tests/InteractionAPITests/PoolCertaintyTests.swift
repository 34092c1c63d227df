// How certain the end of a call is, for every way in which it can fail; judged by what the server saw.

import Dispatch
import NIOCore
import NIOPosix
import Testing

@testable import InteractionAPI

@Suite(.timeLimit(.minutes(2))) struct PoolCertaintyTests {
    // MARK: Kept-alive connections

    @Test func theServerReadsTheSecondRequestAndCloses() async throws {
        let server = try await ScriptedServer()
        try await withPool(server: server) { pool in
            let peer = try await firstCall(pool, server)
            async let second = pool.call(server.port)
            #expect(await peer.readRequest() != nil)
            peer.close()
            #expect(await second.unknownReason == CallFailure.Reason.connectionClosed)
            #expect(server.acceptedCount == 1)
        }
    }

    @Test func theServerReadsTheSecondRequestAndResets() async throws {
        let server = try await ScriptedServer()
        try await withPool(server: server) { pool in
            let peer = try await firstCall(pool, server)
            async let second = pool.call(server.port)
            #expect(await peer.readRequest() != nil)
            try await peer.reset()
            #expect(await second.unknownReason == CallFailure.Reason.connectionReset)
            #expect(server.acceptedCount == 1)
        }
    }

    @Test func aConnectionClosedWhileIdleIsNotUsed() async throws {
        let server = try await ScriptedServer()
        try await withPool(server: server) { pool in
            let first = try await firstCall(pool, server)
            first.closeOutput()
            #expect(await first.isClosedByClient())
            async let second = pool.call(server.port)
            let peer = await server.accept()
            #expect(await peer.readRequest() != nil)
            peer.answer()
            #expect(await second.answer?.status == 202)
        }
    }

    /// Without a word of it in its answer, as a server may that is about to end. A call that waits must not be sent into it.
    @Test func aConnectionClosedRightBehindItsAnswerIsNotUsed() async throws {
        let server = try await ScriptedServer()
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let loop = group.next()
        try await withPool({ $0.connectionsPerOrigin = 1 }, on: loop, server: server) { pool in
            let port = server.port
            async let first = pool.call(port)
            let peer = await server.accept()
            #expect(await peer.readRequest() != nil)
            let second = Task.immediate { await pool.call(port) }
            // Comes to the event loop after the second call, which therefore waits by now.
            #expect(await pool.call(port, timeout: .zero).unsentReason == CallFailure.Reason.timeout)

            // The loop stands still until both are there, so that it meets them together.
            let goesOn = DispatchSemaphore(value: 0)
            await withCheckedContinuation { standing in
                loop.execute {
                    standing.resume()
                    goesOn.wait()
                }
            }
            peer.answer()
            await peer.outputClosed()
            goesOn.signal()

            let answering = Task {
                let other = await server.accept()
                _ = await other.readRequest()
                other.answer()
            }
            #expect(await first.answer?.status == 202)
            let result = await second.value
            #expect(result.answer?.status == 202, "\(result)")
            if result.answer != nil { await answering.value }
        }
        try await group.shutdownGracefully()
    }

    @Test func aConnectionWithUnaskedBytesIsNotUsed() async throws {
        let server = try await ScriptedServer()
        try await withPool(server: server) { pool in
            let first = try await firstCall(pool, server)
            // The beginning of an answer that nobody asked for: alone it is no error to a parser.
            first.write("HTTP/1.1 200 OK\r\n")
            #expect(await first.isClosedByClient())
            #expect(server.acceptedCount == 1)
        }
    }

    @Test func aSecondAnswerInOnePacketIsNotTakenForTheNextCall() async throws {
        let server = try await ScriptedServer()
        try await withPool(server: server) { pool in
            async let first = pool.call(server.port)
            let peer = await server.accept()
            _ = await peer.readRequest()
            peer.write("HTTP/1.1 202 A\r\nContent-Length: 1\r\n\r\n1HTTP/1.1 202 B\r\nContent-Length: 1\r\n\r\n2")
            #expect(await first.answerBody == "1")
            #expect(await peer.isClosedByClient())
            async let second = pool.call(server.port)
            let other = await server.accept()
            _ = await other.readRequest()
            other.answer("202 Accepted", "3")
            #expect(await second.answerBody == "3")
        }
    }

    // MARK: The first request

    @Test func theServerClosesAfterReading() async throws {
        let server = try await ScriptedServer()
        try await withPool(server: server) { pool in
            async let call = pool.call(server.port)
            let peer = await server.accept()
            #expect(await peer.readRequest() != nil)
            peer.close()
            #expect(await call.unknownReason == CallFailure.Reason.connectionClosed)
        }
    }

    @Test func theServerClosesInsideTheHead() async throws {
        let server = try await ScriptedServer()
        try await withPool(server: server) { pool in
            async let call = pool.call(server.port)
            let peer = await server.accept()
            #expect(await peer.readRequest() != nil)
            peer.write("HTTP/1.1 202 Acc")
            peer.close()
            #expect(await call.unknownReason == CallFailure.Reason.connectionClosed)
        }
    }

    @Test func noAnswerInTime() async throws {
        let server = try await ScriptedServer()
        try await withPool({ $0.answerHeadTimeout = .milliseconds(50) }, server: server) { pool in
            async let call = pool.call(server.port)
            let peer = await server.accept()
            #expect(await peer.readRequest() != nil)
            #expect(await call.unknownReason == CallFailure.Reason.timeout)
            #expect(await peer.isClosedByClient())
        }
    }

    @Test func endlessInterimAnswersEndWithTheHeadTimeout() async throws {
        let server = try await ScriptedServer()
        try await withPool({ $0.answerHeadTimeout = .milliseconds(100) }, server: server) { pool in
            async let call = pool.call(server.port)
            let peer = await server.accept()
            #expect(await peer.readRequest() != nil)
            for _ in 0..<1000 { peer.write("HTTP/1.1 102 Processing\r\n\r\n") }
            #expect(await call.unknownReason == CallFailure.Reason.timeout)
        }
    }

    @Test(arguments: ["this is not HTTP", "HTTP/1.1 99999 X", "HTTP/3.0 200 OK", "{\"success\":true}"])
    func garbage(answer: String) async throws {
        let server = try await ScriptedServer()
        try await withPool(server: server) { pool in
            async let call = pool.call(server.port)
            let peer = await server.accept()
            #expect(await peer.readRequest() != nil)
            peer.write(answer + "\r\n\r\n")
            #expect(await call.unknownReason == CallFailure.Reason.malformedAnswer)
        }
    }

    @Test func anEndlessHeadIsMalformed() async throws {
        let server = try await ScriptedServer()
        try await withPool({ $0.answerHeadBytes = 1000 }, server: server) { pool in
            async let call = pool.call(server.port)
            let peer = await server.accept()
            #expect(await peer.readRequest() != nil)
            peer.write("HTTP/1.1 202 Accepted\r\n")
            for index in 0..<200 { peer.write("X-\(index): 0123456789\r\n") }
            #expect(await call.unknownReason == CallFailure.Reason.malformedAnswer)
        }
    }

    @Test func aRequestThatIsStuckHalfWay() async throws {
        let server = try await ScriptedServer(reads: .never)
        try await withPool({ $0.writeTimeout = .milliseconds(100) }, server: server) { pool in
            // More than all socket buffers on the way take.
            let result = await pool.call(server.port, bytes: [UInt8](repeating: 0x20, count: 32 << 20))
            #expect(result.unknownReason == CallFailure.Reason.timeout)
            await server.accept().close()
        }
    }

    @Test func anAnswerBeforeTheRequestIsWritten() async throws {
        let server = try await ScriptedServer(reads: .never)
        try await withPool(server: server) { pool in
            async let call = pool.call(server.port, bytes: [UInt8](repeating: 0x20, count: 32 << 20))
            let peer = await server.accept()
            peer.answer("413 Content Too Large", "no")
            let answer = await call.answer
            #expect(answer == CallAnswer(status: 413, body: Array("no".utf8)))
            peer.close()

            // The connection is in the middle of a request and carries no other.
            async let next = pool.call(server.port, timeout: .seconds(60))
            let other = await server.accept()
            other.answer()
            #expect(await next.answer?.status == 202)
            other.close()
            // Closing may or may not read what lies there.
            _ = await other.readRequest()
        }
    }

    // MARK: Cancellation

    @Test func cancelledWhileTheServerWorks() async throws {
        let server = try await ScriptedServer()
        try await withPool(server: server) { pool in
            let port = server.port
            let call = Task { await pool.call(port) }
            let peer = await server.accept()
            #expect(await peer.readRequest() != nil)
            call.cancel()
            #expect(await call.value.unknownReason == CallFailure.Reason.cancelled)
            #expect(await peer.isClosedByClient())
        }
    }

    @Test func cancelledWhileWaiting() async throws {
        let server = try await ScriptedServer()
        try await withPool({ $0.connectionsPerOrigin = 1 }, server: server) { pool in
            let port = server.port
            async let first = pool.call(port)
            let peer = await server.accept()
            _ = await peer.readRequest()
            let second = Task.immediate { await pool.call(port) }
            // Comes to the event loop after the second call, which therefore waits by now.
            #expect(await pool.call(port, timeout: .zero).unsentReason == CallFailure.Reason.timeout)
            second.cancel()
            #expect(await second.value.unsentReason == CallFailure.Reason.cancelled)
            peer.answer()
            #expect(await first.answer != nil)
        }
    }

    // MARK: Nothing sent

    @Test func refused() async throws {
        let server = try await ScriptedServer()
        let gone = try await ScriptedServer()
        try await gone.stop()
        try await withPool(server: server) { pool in
            #expect(await pool.call(gone.port).unsentReason == CallFailure.Reason.connectFailed)
        }
    }

    @Test func connectIsNeverAnswered() async throws {
        let hole = try BlackHole()
        defer { hole.close() }
        let server = try await ScriptedServer()
        try await withPool({ $0.connectTimeout = .milliseconds(100) }, server: server) { pool in
            #expect(await pool.call(hole.port).unsentReason == CallFailure.Reason.connectTimeout)
        }
    }

    @Test func theNameDoesNotExist() async throws {
        let server = try await ScriptedServer()
        try await withPool(server: server) { pool in
            let request = RequestHead(.post, uri: "/").request(with: [])
            // RFC 6761 §6.4: never resolves.
            let result = await pool.send(
                request, to: Origin(isTLS: false, host: "no.such.host.invalid", port: 80),
                deadline: .now() + .seconds(60))
            #expect(result.unsentReason == CallFailure.Reason.nameNotResolved)
        }
    }

    @Test func noTimeLeft() async throws {
        let server = try await ScriptedServer()
        try await withPool(server: server) { pool in
            #expect(await pool.call(server.port, timeout: .zero).unsentReason == CallFailure.Reason.timeout)
            #expect(server.acceptedCount == 0)
        }
    }

    @Test func shutDown() async throws {
        let server = try await ScriptedServer()
        try await withPool(server: server) { pool in
            async let call = pool.call(server.port)
            let peer = await server.accept()
            #expect(await peer.readRequest() != nil)
            await pool.shutDown()
            #expect(await call.unknownReason == CallFailure.Reason.clientClosed)
            #expect(await pool.call(server.port).unsentReason == CallFailure.Reason.clientClosed)
        }
    }

    /// One call that ends well and leaves its connection.
    private func firstCall(_ pool: HTTPPool, _ server: ScriptedServer) async throws -> Peer {
        async let first = pool.call(server.port)
        let peer = await server.accept()
        _ = try #require(await peer.readRequest())
        peer.answer()
        #expect(await first.answer == CallAnswer(status: 202, body: Array(#"{"success":true}"#.utf8)))
        return peer
    }
}
