// What the pool's tests share: a pool on an event loop, a request, and readable results.

import Foundation
import NIOCore
import NIOPosix
import NIOSSL
import Testing

@testable import InteractionAPI

/// Runs `body` with a pool and a server, and shuts both down.
func withPool(
    _ change: (inout ConnectionSettings) -> Void = { _ in }, trusting authority: NIOSSLCertificate? = nil,
    proxy: HTTPProxy? = nil, on eventLoop: any EventLoop = MultiThreadedEventLoopGroup.singleton.next(),
    server: ScriptedServer, body: (HTTPPool) async throws -> Void
) async throws {
    var settings = ConnectionSettings()
    // Far away: a loaded machine is no fault. Tests of a timeout shorten the one they are about.
    settings.connectTimeout = .seconds(60)
    settings.tlsTimeout = .seconds(60)
    settings.proxyTimeout = .seconds(60)
    settings.waitTimeout = .seconds(60)
    settings.writeTimeout = .seconds(60)
    settings.answerHeadTimeout = .seconds(60)
    settings.answerBodyTimeout = .seconds(60)
    settings.idleTimeout = .seconds(60)
    change(&settings)
    var tls = TLSConfiguration.makeClientConfiguration()
    if let authority { tls.additionalTrustRoots = [.certificates([authority])] }
    let pool = HTTPPool(
        eventLoop: eventLoop, settings: settings,
        tls: try NIOSSLContext(configuration: tls), proxy: proxy)
    do {
        try await body(pool)
    } catch {
        await pool.shutDown()
        try? await server.stop()
        throw error
    }
    await pool.shutDown()
    #expect(await server.requestsLeft() == 0, "the server saw requests that the test does not know of")
    try await server.stop()
}

extension HTTPPool {
    /// Sends a small request to a port of this machine.
    func call(_ port: Int, body: String = #"{"n":1}"#, tls: Bool = false, timeout: TimeAmount = .seconds(60)) async
        -> CallResult
    {
        await call(port, bytes: Array(body.utf8), tls: tls, timeout: timeout)
    }

    func call(_ port: Int, bytes: [UInt8], tls: Bool = false, timeout: TimeAmount = .seconds(60)) async -> CallResult {
        var head = RequestHead(.post, uri: "/x")
        head.add("Host", "localhost")
        return await send(
            head.request(with: bytes),
            to: Origin(isTLS: tls, host: tls ? "localhost" : "127.0.0.1", port: port), deadline: .now() + timeout)
    }
}

extension CallResult {
    var unsentReason: String? { if case .notSent(let failure) = self { failure.reason } else { nil } }
    var unknownReason: String? { if case .effectUnknown(let failure) = self { failure.reason } else { nil } }
    var answer: CallAnswer? { if case .answered(let answer) = self { answer } else { nil } }
    var answerBody: String? { answer.map { String(decoding: $0.body, as: UTF8.self) } }
}
