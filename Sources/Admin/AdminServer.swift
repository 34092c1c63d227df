// The admin port: a small HTTP/1.1 server on a thread of its own, so that it answers while the worker's event loop stands
// still. NIO alone, without Hummingbird, which the sandbox uses: the way through proxies has brought NIOHTTP1 along, so
// that it costs a thread and little memory, and no pool of threads that others share stands between a probe and its answer.

public import Logging
import LoopSupport
import NIOCore
import NIOHTTP1
import NIOPosix
public import ServiceLifecycle
import Synchronization
import WorkerLog

/// Serves ``AdminRoutes`` until it is the last service that runs. A port that is taken is tried again and again: it never
/// stops a worker.
public struct AdminServer: Service {
    private static let retryInterval: Duration = .seconds(5)
    /// Connections at a time; more are closed at once.
    private static let maximumConnections = 64
    private static let idleTimeout = TimeAmount.seconds(60)

    private let host: String
    private let port: Int
    private let routes: AdminRoutes
    private let logger: Logger
    private let onListening: @Sendable (String) -> Void

    /// - Parameters:
    ///   - port: 0 takes a free one.
    ///   - onListening: told the address once the port is open.
    public init(
        host: String, port: Int, routes: AdminRoutes, logger: Logger, onListening: @escaping @Sendable (String) -> Void
    ) {
        self.host = host
        self.port = port
        self.routes = routes
        self.logger = logger
        self.onListening = onListening
    }

    public func run() async throws {
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        if let channel = try? await cancelWhenGracefulShutdown({ try await listen(on: group) }) {
            onListening(channel.localAddress.map(Self.shown) ?? "\(host):\(port)")
            try? await gracefulShutdown()
            try? await channel.close()
        }
        try? await group.shutdownGracefully()
    }

    private static func words(for error: any Error) -> String {
        guard let error = error as? IOError, error.errnoCode == EADDRINUSE else {
            return ConnectionTrouble.words(for: error)
        }
        return "the port is in use: each worker of a host needs an admin.address of its own"
    }

    private func listen(on group: any EventLoopGroup) async throws -> any Channel {
        let open = OpenConnections()
        let bootstrap = ServerBootstrap(group: group)
            .serverChannelOption(.backlog, value: 64)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelInitializer { [routes] channel in
                guard open.count.add(1, ordering: .relaxed).newValue <= Self.maximumConnections else {
                    open.count.subtract(1, ordering: .relaxed)
                    return channel.close()
                }
                channel.closeFuture.whenComplete { _ in open.count.subtract(1, ordering: .relaxed) }
                return channel.eventLoop.makeCompletedFuture {
                    let pipeline = channel.pipeline.syncOperations
                    try pipeline.addHandler(IdleStateHandler(allTimeout: Self.idleTimeout))
                    try pipeline.configureHTTPServerPipeline()
                    try pipeline.addHandler(AdminHandler(routes))
                }
            }
        var hasFailed = false
        while true {
            do {
                return try await bootstrap.bind(host: host, port: port).get()
            } catch {
                // Once: a second worker of this host would say it for ever.
                if !hasFailed {
                    logger.warning(
                        "cannot open the admin port, which has probes and metrics; will try again",
                        metadata: [LogKey.address: "\(host):\(port)", LogKey.error: "\(Self.words(for: error))"])
                }
                hasFailed = true
                try await Task.sleep(for: Self.retryInterval)
            }
        }
    }

    private static func shown(_ address: SocketAddress) -> String {
        let ip = address.ipAddress ?? ""
        return (ip.contains(":") ? "[\(ip)]" : ip) + ":\(address.port ?? 0)"
    }
}

/// How many connections there are.
private final class OpenConnections: Sendable {
    let count = Atomic<Int>(0)
}
