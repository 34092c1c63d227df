// The stub of the API, in a process of its own, and what it counted.

import AsyncHTTPClient
import Foundation
import NIOCore
import RoutingContract

/// What the stub knows of one RequestId.
struct StubCall {
    var count: UInt32
    /// Nanoseconds of ``monotonicNow()``.
    var arrivedAt: UInt64
    var answeredAt: UInt64
}

/// A running RouteStub.
struct Stub: Sendable {
    let url: String
    private let child: Child

    init(program: String, logFile: String) async throws {
        let (lines, continuation) = AsyncStream.makeStream(of: String.self)
        child = try Child("the stub", program, [], environment: [:], logFile: logFile) { line in
            continuation.yield(line)
            continuation.finish()
        }
        var iterator = lines.makeAsyncIterator()
        guard let line = await iterator.next(), line.hasPrefix("http") else {
            throw BenchFailure("the stub \(program) did not start:\n\(child.logTail)")
        }
        url = line
    }

    /// Forgets what was counted.
    func reset(delayMilliseconds: Int) async throws {
        _ = try await send("/reset?delay=\(delayMilliseconds)", .POST)
    }

    /// From now on every call is answered with 503 and not counted, or answered and counted again.
    func refuse(_ refuses: Bool) async throws {
        _ = try await send(refuses ? "/refuse" : "/accept", .POST)
    }

    /// All calls since the last reset.
    func calls() async throws -> [RequestID: StubCall] {
        var bytes = try await send("/calls", .GET)
        var calls: [RequestID: StubCall] = [:]
        calls.reserveCapacity(bytes.readableBytes / 36)
        while let id = bytes.readBytes(length: 16), let count = bytes.readInteger(endianness: .little, as: UInt32.self),
            let arrived = bytes.readInteger(endianness: .little, as: UInt64.self),
            let answered = bytes.readInteger(endianness: .little, as: UInt64.self)
        {
            calls[RequestID(bytes: SIMD16(id))] = StubCall(count: count, arrivedAt: arrived, answeredAt: answered)
        }
        return calls
    }

    func stop() async throws { try await child.stop() }

    private func send(_ path: String, _ method: HTTPClientRequest.Method) async throws -> ByteBuffer {
        var request = HTTPClientRequest(url: url + path)
        request.method = .init(rawValue: method.rawValue)
        let response = try await HTTPClient.shared.execute(request, timeout: .seconds(60))
        return try await response.body.collect(upTo: 1 << 30)
    }
}

extension HTTPClientRequest {
    enum Method: String { case GET, POST }
}
