// TLS and the proxy: what is trusted, what is not, and that nothing is sent before.

import NIOCore
import NIOSSL
import Testing

@testable import InteractionAPI

@Suite(.timeLimit(.minutes(2))) struct PoolTLSTests {
    private let certificates: Certificates

    init() throws { certificates = try Certificates.shared.get() }

    @Test func trustedAndReused() async throws {
        let server = try await ScriptedServer(tls: certificates.context(.good))
        try await withPool(trusting: certificates.authority, server: server) { pool in
            var peer: Peer?
            for body in ["1", "2"] {
                async let call = pool.call(server.port, tls: true)
                if peer == nil { peer = await server.accept() }
                #expect(await peer?.readRequest() != nil)
                peer?.answer("202 Accepted", body)
                #expect(await call.answerBody == body)
            }
            #expect(server.acceptedCount == 1)
        }
    }

    @Test func theServerReadsTheSecondRequestAndCloses() async throws {
        let server = try await ScriptedServer(tls: certificates.context(.good))
        try await withPool(trusting: certificates.authority, server: server) { pool in
            async let first = pool.call(server.port, tls: true)
            let peer = await server.accept()
            _ = await peer.readRequest()
            peer.answer()
            #expect(await first.answer != nil)
            async let second = pool.call(server.port, tls: true)
            #expect(await peer.readRequest() != nil)
            peer.close()
            #expect(await second.unknownReason != nil)
            #expect(server.acceptedCount == 1)
        }
    }

    @Test(arguments: [Certificates.Server.otherHost, .expired])
    func refusedCertificates(server certificate: Certificates.Server) async throws {
        let server = try await ScriptedServer(tls: certificates.context(certificate))
        try await withPool(trusting: certificates.authority, server: server) { pool in
            #expect(await pool.call(server.port, tls: true).unsentReason == CallFailure.Reason.tlsFailed)
        }
    }

    @Test func anUnknownAuthorityIsRefused() async throws {
        let server = try await ScriptedServer(tls: certificates.context(.good))
        try await withPool(server: server) { pool in
            #expect(await pool.call(server.port, tls: true).unsentReason == CallFailure.Reason.tlsFailed)
        }
    }

    @Test func aHandshakeWithoutAnswer() async throws {
        let server = try await ScriptedServer()
        try await withPool({ $0.tlsTimeout = .milliseconds(50) }, server: server) { pool in
            #expect(await pool.call(server.port, tls: true).unsentReason == CallFailure.Reason.tlsTimeout)
        }
    }

    @Test func aHandshakeThatTheServerEnds() async throws {
        let server = try await ScriptedServer()
        try await withPool(server: server) { pool in
            async let call = pool.call(server.port, tls: true)
            await server.accept().close()
            // The close can come before the handshake begins.
            let reason = await call.unsentReason
            #expect(reason == CallFailure.Reason.tlsFailed || reason == CallFailure.Reason.connectFailed)
        }
    }

    @Test func aServerThatSpeaksNoTLS() async throws {
        let server = try await ScriptedServer()
        try await withPool(server: server) { pool in
            async let call = pool.call(server.port, tls: true)
            await server.accept().write("HTTP/1.1 400 Bad Request\r\n\r\n")
            #expect(await call.unsentReason == CallFailure.Reason.tlsFailed)
        }
    }

    @Test func aStuckRequestIsNotFinishedByTheGoodBye() async throws {
        let server = try await ScriptedServer(tls: certificates.context(.good), reads: .untilFirstBytes)
        try await withPool(
            { $0.writeTimeout = .milliseconds(200) }, trusting: certificates.authority, server: server
        ) { pool in
            async let call = pool.call(server.port, bytes: [UInt8](repeating: 0x20, count: 32 << 20), tls: true)
            let peer = await server.accept()
            let result = await call
            #expect(result.answer == nil)
            await peer.waitForBytes()
            peer.startReading()
            // What was reported as not completely sent never completes.
            #expect(await peer.readRequest() == nil)
        }
    }

    // MARK: Proxy

    @Test func throughATunnel() async throws {
        let proxy = try await ScriptedServer()
        let settings = HTTPProxy(host: "127.0.0.1", port: proxy.port, authorization: "Basic eDp5")
        try await withPool(trusting: certificates.authority, proxy: settings, server: proxy) { pool in
            async let first = pool.call(7443, tls: true)
            let peer = await proxy.accept()
            let connect = await peer.readRequest()
            #expect(connect?.line == "CONNECT localhost:7443 HTTP/1.1")
            #expect(connect?.headers == ["host": "localhost:7443", "proxy-authorization": "Basic eDp5"])
            try await peer.startTLS(certificates.context(.good))
            // Written below TLS, which waits for the client's first bytes.
            try await peer.writeBelowTLS("HTTP/1.1 200 Connection established\r\nContent-Length: 5\r\n\r\n")
            let request = await peer.readRequest()
            #expect(request?.line == "POST /x HTTP/1.1")
            #expect(request?.headers["proxy-authorization"] == nil)
            peer.answer()
            #expect(await first.answer?.status == 202)
            // The tunnel is kept.
            async let second = pool.call(7443, tls: true)
            #expect(await peer.readRequest()?.line == "POST /x HTTP/1.1")
            peer.answer()
            #expect(await second.answer?.status == 202)
            #expect(proxy.acceptedCount == 1)
        }
    }

    @Test func aCertificateIsVerifiedInsideTheTunnel() async throws {
        let proxy = try await ScriptedServer()
        try await withPool(
            trusting: certificates.authority, proxy: HTTPProxy(host: "127.0.0.1", port: proxy.port), server: proxy
        ) { pool in
            async let call = pool.call(7443, tls: true)
            let peer = await proxy.accept()
            _ = await peer.readRequest()
            try await peer.startTLS(certificates.context(.otherHost))
            try await peer.writeBelowTLS("HTTP/1.1 200 Connection established\r\n\r\n")
            #expect(await call.unsentReason == CallFailure.Reason.tlsFailed)
        }
    }

    @Test(arguments: [
        "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno", "HTTP/1.1 407 Proxy Authentication Required\r\n\r\n",
        "HTTP/1.1 502 Bad Gateway\r\n\r\n", "what?\r\n\r\n",
    ])
    func noTunnel(answer: String) async throws {
        let proxy = try await ScriptedServer()
        try await withPool(proxy: HTTPProxy(host: "127.0.0.1", port: proxy.port), server: proxy) { pool in
            async let call = pool.call(7443, tls: true)
            let peer = await proxy.accept()
            #expect(await peer.readRequest()?.line == "CONNECT localhost:7443 HTTP/1.1")
            peer.write(answer)
            #expect(await call.unsentReason == CallFailure.Reason.proxyFailed)
            #expect(await peer.isClosedByClient())
        }
    }

    @Test func aSilentProxy() async throws {
        let proxy = try await ScriptedServer()
        try await withPool(
            { $0.proxyTimeout = .milliseconds(50) }, proxy: HTTPProxy(host: "127.0.0.1", port: proxy.port),
            server: proxy
        ) { pool in
            async let call = pool.call(7443, tls: true)
            let peer = await proxy.accept()
            _ = await peer.readRequest()
            #expect(await call.unsentReason == CallFailure.Reason.proxyFailed)
        }
    }

    @Test func theProxyIsNotThere() async throws {
        let gone = try await ScriptedServer()
        try await gone.stop()
        let server = try await ScriptedServer()
        try await withPool(proxy: HTTPProxy(host: "127.0.0.1", port: gone.port), server: server) { pool in
            #expect(await pool.call(server.port, tls: true).unsentReason == CallFailure.Reason.connectFailed)
            #expect(server.acceptedCount == 0)
        }
    }
}
