// What the tests of stores on servers share: stores at a place of a test's own, and a connection that can be cut.

import Foundation
import IdempotencyStore
import PostgresIdempotencyStore
import RedisIdempotencyStore
import TestSupport

/// A part of a server that no other test uses: a schema, or a namespace.
struct ServerPlace: Sendable {
    let kind: TestDatabase
    let url: String
    let namespace: String

    /// On the server that the run shares.
    static func shared(_ kind: TestDatabase) async throws -> ServerPlace {
        switch kind {
        case .postgres: ServerPlace(kind: kind, url: try await freshSchema())
        case .redis: ServerPlace(kind: kind, url: try kind.url)
        }
    }

    /// The same place by way of another port.
    func through(port: Int) throws -> ServerPlace {
        var parts = URLComponents(string: url)
        parts?.port = port
        guard let url = parts?.string else { throw StoreError.unusable("no URL") }
        return ServerPlace(kind: kind, url: url, namespace: namespace)
    }

    func store(
        timeLimit: Duration = .seconds(20), clock: StoreClock? = nil, caFile: String? = nil
    ) throws -> any InspectedStore {
        var settings = BatchSettings()
        // Longer, so that the backend's own limit is what shows.
        settings.timeLimit = timeLimit * 4
        switch kind {
        case .postgres:
            return BatchingIdempotencyStore(
                PostgresStoreBackend(
                    target: try PostgresTarget(url: url, caFile: caFile), clock: clock, timeLimit: timeLimit),
                settings: settings)
        case .redis:
            return BatchingIdempotencyStore(
                RedisStoreBackend(
                    target: try RedisTarget(url: url, caFile: caFile), namespace: namespace, clock: clock,
                    timeLimit: timeLimit),
                settings: settings)
        }
    }

    init(kind: TestDatabase, url: String, namespace: String = uniqueName("place")) {
        self.kind = kind
        self.url = url
        self.namespace = namespace
    }

    init(_ database: PrivateDatabase) {
        self.init(kind: database.kind, url: database.url)
    }
}

/// Runs a command by Redis' own client, and returns what it printed.
@discardableResult
func redisCLI(_ url: String, _ arguments: String...) async throws -> String {
    try await ChildProcess.run(
        URL(fileURLWithPath: "/usr/bin/env"), ["redis-cli", "--no-auth-warning", "-e", "-u", url] + arguments)
}

/// Passes bytes on between clients and a server on 127.0.0.1, until it is told to cut a connection at a certain moment.
///
/// Unchecked, since the lock guards all that can change.
final class CuttingProxy: @unchecked Sendable {
    /// Whose bytes are lost when the connection is cut.
    enum Direction: Sendable { case requests, answers }

    let port: Int
    private let listener: Int32
    private let lock = NSLock()
    private var cut: (direction: Direction, passing: Int)?
    private var cuts = 0

    init(to target: Int) throws {
        let listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var address = Self.loopback(0)
        var size = socklen_t(MemoryLayout<sockaddr_in>.size)
        let status = withUnsafeMutablePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(listener, $0, size) == 0 && listen(listener, 16) == 0 ? getsockname(listener, $0, &size) : -1
            }
        }
        guard status == 0 else { throw StoreError.unavailable("the proxy cannot listen") }
        port = Int(UInt16(bigEndian: address.sin_port))
        self.listener = listener
        Thread.detachNewThread { [self] in
            while true {
                let client = accept(listener, nil, nil)
                guard client >= 0 else { return }
                connect(client, to: target)
            }
        }
    }

    /// Lets that many pieces of that direction pass, each what one side wrote at once; with the next one the connection
    /// is cut in both directions, and that piece is lost. Later connections are left alone.
    func cutNext(_ direction: Direction, after passing: Int) {
        lock.withLock { cut = (direction, passing) }
    }

    /// How many connections were cut.
    var cutCount: Int { lock.withLock { cuts } }

    func stop() {
        shutdown(listener, Int32(SHUT_RDWR))
        close(listener)
    }

    private func connect(_ client: Int32, to port: Int) {
        let server = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var address = Self.loopback(port)
        let status = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                Foundation.connect(server, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        guard status == 0 else {
            close(client)
            close(server)
            return
        }
        // Whoever ends second closes; a descriptor that is closed early could be somebody else's.
        let pair = Pair(client: client, server: server)
        for direction in [Direction.requests, .answers] {
            Thread.detachNewThread { [self] in pass(direction, pair) }
        }
    }

    private func pass(_ direction: Direction, _ pair: Pair) {
        let (from, to) = direction == .requests ? (pair.client, pair.server) : (pair.server, pair.client)
        var buffer = [UInt8](repeating: 0, count: 1 << 20)
        while true {
            let count = recv(from, &buffer, buffer.count, 0)
            guard count > 0, !isCut(direction), send(to, buffer, count, Int32(MSG_NOSIGNAL)) == count else {
                break
            }
        }
        shutdown(from, Int32(SHUT_RDWR))
        shutdown(to, Int32(SHUT_RDWR))
    }

    private func isCut(_ direction: Direction) -> Bool {
        lock.withLock {
            guard let now = cut, now.direction == direction else { return false }
            guard now.passing == 0 else {
                cut?.passing -= 1
                return false
            }
            cut = nil
            cuts += 1
            return true
        }
    }

    private final class Pair: Sendable {
        let client: Int32
        let server: Int32

        init(client: Int32, server: Int32) {
            self.client = client
            self.server = server
        }

        deinit {
            close(client)
            close(server)
        }
    }

    private static func loopback(_ port: Int) -> sockaddr_in {
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = in_addr_t(0x7F00_0001).bigEndian
        address.sin_port = in_port_t(UInt16(port)).bigEndian
        return address
    }
}
