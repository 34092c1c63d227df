// The pool's bounds: connections, waiting calls, reuse and idle time.

import NIOCore
import Testing

@testable import InteractionAPI

@Suite(.timeLimit(.minutes(2))) struct PoolBoundsTests {
    @Test func connectionsAreBoundedAndWaitingCallsServed() async throws {
        let server = try await ScriptedServer()
        try await withPool({ $0.connectionsPerOrigin = 3 }, server: server) { pool in
            let port = server.port
            try await withThrowingTaskGroup { group in
                for index in 0..<50 {
                    group.addTask {
                        #expect(await pool.call(port, body: "{\"n\":\(index)}").answerBody == "{\"n\":\(index)}")
                    }
                }
                // Every connection echoes until its client goes.
                let echo = Task {
                    await withTaskGroup { group in
                        for _ in 0..<3 {
                            let peer = await server.accept()
                            group.addTask {
                                while let request = await peer.readRequest() {
                                    peer.answer("202 Accepted", String(decoding: request.body, as: UTF8.self))
                                }
                            }
                        }
                    }
                }
                try await group.waitForAll()
                await pool.shutDown()
                await echo.value
            }
            #expect(server.acceptedCount == 3)
        }
    }

    @Test func waitingForABusyConnectionEndsInTime() async throws {
        let server = try await ScriptedServer()
        try await withPool({ $0.connectionsPerOrigin = 1 }, server: server) { pool in
            async let first = pool.call(server.port)
            let peer = await server.accept()
            _ = await peer.readRequest()
            let second = await pool.call(server.port, timeout: .milliseconds(50))
            #expect(second.unsentReason == CallFailure.Reason.noConnectionFree)
            peer.answer()
            #expect(await first.answer != nil)
        }
    }

    @Test func waitingForANewConnectionEndsInTime() async throws {
        let hole = try BlackHole()
        defer { hole.close() }
        let server = try await ScriptedServer()
        try await withPool({ $0.waitTimeout = .milliseconds(50) }, server: server) { pool in
            #expect(await pool.call(hole.port).unsentReason == CallFailure.Reason.noConnectionFree)
        }
    }

    @Test func theQueueIsBounded() async throws {
        let server = try await ScriptedServer()
        try await withPool(
            {
                $0.connectionsPerOrigin = 1
                $0.waitingPerOrigin = 1
            }, server: server
        ) { pool in
            let port = server.port
            async let first = pool.call(port)
            let peer = await server.accept()
            _ = await peer.readRequest()
            let second = Task.immediate { await pool.call(port) }
            #expect(await pool.call(port).unsentReason == CallFailure.Reason.tooManyWaiting)
            peer.answer("202 Accepted", "1")
            #expect(await first.answerBody == "1")
            _ = await peer.readRequest()
            peer.answer("202 Accepted", "2")
            #expect(await second.value.answerBody == "2")
            #expect(server.acceptedCount == 1)
        }
    }

    @Test func theMostRecentConnectionIsReused() async throws {
        let server = try await ScriptedServer()
        try await withPool(server: server) { pool in
            let port = server.port
            let first = Task { await pool.call(port) }
            let one = await server.accept()
            _ = await one.readRequest()
            let second = Task { await pool.call(port) }
            let other = await server.accept()
            _ = await other.readRequest()
            other.answer()
            _ = await second.value
            one.answer()
            _ = await first.value
            for body in ["a", "b"] {
                async let next = pool.call(port)
                _ = await one.readRequest()
                one.answer("202 Accepted", body)
                #expect(await next.answerBody == body)
            }
        }
    }

    @Test func idleConnectionsAreClosed() async throws {
        let server = try await ScriptedServer()
        try await withPool({ $0.idleTimeout = .milliseconds(50) }, server: server) { pool in
            async let call = pool.call(server.port)
            let peer = await server.accept()
            _ = await peer.readRequest()
            peer.answer()
            #expect(await call.answer != nil)
            #expect(await peer.isClosedByClient())
        }
    }

    @Test func aFailedConnectFailsOneCallAndTheOthersGoOn() async throws {
        let server = try await ScriptedServer()
        let gone = try await ScriptedServer()
        try await gone.stop()
        try await withPool({ $0.connectionsPerOrigin = 2 }, server: server) { pool in
            await withTaskGroup { group in
                for _ in 0..<20 { group.addTask { await pool.call(gone.port) } }
                for await result in group { #expect(result.unsentReason == CallFailure.Reason.connectFailed) }
            }
        }
    }
}
