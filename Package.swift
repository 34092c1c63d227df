// swift-tools-version: 6.2
import PackageDescription

/// Every room is built the same way: Swift 6 language mode (from the tools version), and nonisolated async
/// functions that stay on their caller's executor, so that awaiting another room on the home event loop costs no hop.
let settings: [SwiftSetting] = [
    .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("InternalImportsByDefault"),
]

let package = Package(
    name: "route-worker",
    platforms: [.macOS(.v15)],
    products: [
        .executable(name: "route-worker", targets: ["route-worker"])
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-nio", from: "2.101.2"),
        .package(url: "https://github.com/apple/swift-nio-ssl", from: "2.37.6"),
        .package(url: "https://github.com/apple/swift-nio-extras", from: "1.35.2"),
        .package(url: "https://github.com/apple/swift-crypto", from: "4.5.2"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
        .package(url: "https://github.com/apple/swift-metrics", from: "2.13.0"),
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        .package(url: "https://github.com/apple/swift-configuration", from: "1.4.0"),
        .package(url: "https://github.com/swift-server/swift-service-lifecycle", from: "2.13.0"),
        .package(url: "https://github.com/swift-server/async-http-client", from: "1.37.0"),
        .package(url: "https://github.com/hummingbird-project/hummingbird", from: "2.28.1"),
        .package(url: "https://github.com/groue/GRDB.swift", from: "7.10.0"),
        .package(url: "https://github.com/jpsim/Yams", from: "6.2.2"),
        .package(url: "https://github.com/vapor/jwt-kit", from: "5.7.1"),
        .package(url: "https://github.com/HdrHistogram/hdrhistogram-swift", from: "0.2.0"),
    ],
    targets: [
        // The command line: wiring, nothing else.
        .executableTarget(
            name: "route-worker",
            dependencies: [
                "Admin", "AMQP", "AMQPMessage", "BrokerInspection", "CommandClient", "DeadLetters", "FleetControls",
                "IdempotencyStore",
                "InteractionAPI", "InteractionSandbox", "LoopSupport", "PostgresIdempotencyStore", "PrometheusMetrics",
                "RedisIdempotencyStore", "RouteWorker", "RoutingContract", "SQLiteIdempotencyStore", "WorkerLog",
                "WorkerSettings",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
                .product(name: "AsyncHTTPClient", package: "async-http-client"),
                .product(name: "Logging", package: "swift-log"),
                .product(name: "NIOConcurrencyHelpers", package: "swift-nio"),
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
                .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
                .product(name: "UnixSignals", package: "swift-service-lifecycle"),
            ],
            swiftSettings: settings),

        // The benchmark, and a fast stand-in for the API that only it uses. `deploy/bench/run` starts them.
        .executableTarget(
            name: "RouteBench",
            dependencies: [
                "AMQP", "AMQPMessage", "IdempotencyStore", "PostgresIdempotencyStore", "RedisIdempotencyStore",
                "RoutingContract", "SQLiteIdempotencyStore",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
                .product(name: "AsyncHTTPClient", package: "async-http-client"),
                .product(name: "GRDB", package: "GRDB.swift"),
                .product(name: "Histogram", package: "hdrhistogram-swift"),
                .product(name: "NIOCore", package: "swift-nio"),
            ],
            swiftSettings: settings),
        .executableTarget(
            name: "RouteStub",
            dependencies: [
                "RoutingContract",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
            ],
            swiftSettings: settings),

        // What loses messages on a broker, and the commands that mend it: pure judgement, and what looks at the broker.
        .target(
            name: "BrokerInspection",
            dependencies: [
                "AMQP", "AMQPMessage", "LoopSupport", "RouteWorker", "RoutingContract", "WorkerSettings",
                .product(name: "AsyncHTTPClient", package: "async-http-client"),
                .product(name: "NIOCore", package: "swift-nio"), .product(name: "NIOHTTP1", package: "swift-nio"),
                .product(name: "NIOSSL", package: "swift-nio-ssl"),
            ],
            swiftSettings: settings),

        // Configuration file, environment and flags, checked and turned into the settings of the rooms below.
        .target(
            name: "WorkerSettings",
            dependencies: [
                "RoutingContract", .product(name: "Configuration", package: "swift-configuration"), "Yams",
            ],
            swiftSettings: settings),

        // Probes and metrics over HTTP.
        .target(
            name: "Admin",
            dependencies: [
                "LoopSupport", "PrometheusMetrics", "RouteWorker", "WorkerLog",
                .product(name: "Logging", package: "swift-log"),
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOHTTP1", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
                .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
            ],
            swiftSettings: settings),

        // A stand-in for Salesforce's API, for trials and tests.
        .target(
            name: "InteractionSandbox",
            dependencies: [
                "RoutingContract",
                .product(name: "CryptoExtras", package: "swift-crypto"),
                .product(name: "Hummingbird", package: "hummingbird"),
                .product(name: "Logging", package: "swift-log"),
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
                .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
            ],
            swiftSettings: settings),

        // What a platform needs: commands to send, answers to read; made-up commands for trials and tests.
        .target(
            name: "CommandClient", dependencies: ["AMQP", "AMQPMessage", "RoutingContract"], swiftSettings: settings),

        // What operators do with dead letters: look, replay, discard, resolve, and leave a trail.
        .target(
            name: "DeadLetters",
            dependencies: ["AMQP", "AMQPMessage", "Failpoints", "IdempotencyStore", "RoutingContract"],
            swiftSettings: settings),

        // Pure: what operators have said about orgs (paused, live, shadow, passthrough), and how it is found in its stream.
        .target(name: "FleetControls", dependencies: ["AMQPMessage", "RoutingContract"], swiftSettings: settings),

        // Pipeline, policies, service.
        .target(
            name: "RouteWorker",
            dependencies: [
                "AMQP", "AMQPMessage", "Failpoints", "FleetControls", "IdempotencyStore", "InteractionAPI",
                "Partitioning",
                "PrometheusMetrics", "RoutingContract", "WorkerLog",
                .product(name: "CoreMetrics", package: "swift-metrics"),
                .product(name: "Logging", package: "swift-log"),
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
            ],
            swiftSettings: settings),

        // The port to Salesforce and the client behind it.
        .target(
            name: "InteractionAPI",
            dependencies: [
                "Failpoints", "LoopSupport", "RoutingContract", "WorkerLog",
                .product(name: "AsyncHTTPClient", package: "async-http-client"),
                .product(name: "JWTKit", package: "jwt-kit"),
                .product(name: "Logging", package: "swift-log"),
                .product(name: "NIOConcurrencyHelpers", package: "swift-nio"),
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOExtras", package: "swift-nio-extras"),
                .product(name: "NIOHTTP1", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
                .product(name: "NIOSSL", package: "swift-nio-ssl"),
                .product(name: "NIOTLS", package: "swift-nio"),
            ],
            swiftSettings: settings),

        // Stores, one each.
        .target(
            name: "SQLiteIdempotencyStore",
            dependencies: [
                "IdempotencyStore", "RoutingContract", .product(name: "GRDB", package: "GRDB.swift"),
                .product(name: "GRDBSQLite", package: "GRDB.swift"),
            ],
            swiftSettings: settings),

        .target(
            name: "PostgresIdempotencyStore", dependencies: ["CLibPQ", "IdempotencyStore", "RoutingContract"],
            swiftSettings: settings),
        .target(
            name: "RedisIdempotencyStore",
            dependencies: [
                "IdempotencyStore", "LoopSupport", "RoutingContract",
                .product(name: "NIOCore", package: "swift-nio"), .product(name: "NIOPosix", package: "swift-nio"),
                .product(name: "NIOSSL", package: "swift-nio-ssl"), .product(name: "NIOTLS", package: "swift-nio"),
            ],
            swiftSettings: settings),

        // The port to the store, its batching, and a store in memory.
        .target(name: "IdempotencyStore", dependencies: ["RoutingContract"], swiftSettings: settings),

        // Sharing the partitioned queues among workers.
        .target(name: "Partitioning", swiftSettings: settings),

        // A small RabbitMQ client over librabbitmq. The one target that imports CRabbitMQ.
        .target(
            name: "AMQP",
            dependencies: ["AMQPMessage", "CRabbitMQ", "Failpoints"],
            swiftSettings: settings),

        // Pure: commands, answers, outcomes, dead letters, ids, JSON scanner, fingerprint.
        .target(
            name: "RoutingContract",
            dependencies: ["AMQPMessage", .product(name: "Crypto", package: "swift-crypto")],
            swiftSettings: settings),

        // Log lines: their keys, their forms, and a writer that nobody waits for.
        .target(
            name: "WorkerLog",
            dependencies: ["RoutingContract", .product(name: "Logging", package: "swift-log")],
            swiftSettings: settings),

        // Pure: messages and header tables as values, shared by the AMQP client and the contract.
        .target(name: "AMQPMessage", swiftSettings: settings),

        // Where tests make a worker die; nothing in a release.
        .target(name: "Failpoints", swiftSettings: settings),

        // What the rooms on an event loop share: their executor, and words for failures of connections and of TLS.
        .target(
            name: "LoopSupport",
            dependencies: [
                .product(name: "NIOConcurrencyHelpers", package: "swift-nio"),
                .product(name: "NIOCore", package: "swift-nio"), .product(name: "NIOPosix", package: "swift-nio"),
                .product(name: "NIOSSL", package: "swift-nio-ssl"),
            ],
            swiftSettings: settings),

        // A registry behind swift-metrics, and Prometheus' text format.
        .target(
            name: "PrometheusMetrics", dependencies: [.product(name: "CoreMetrics", package: "swift-metrics")],
            swiftSettings: settings),

        .systemLibrary(name: "CRabbitMQ", pkgConfig: "librabbitmq", providers: [.apt(["librabbitmq-dev"])]),
        // Loads libpq when it is first used, so that only its headers are needed here.
        .target(name: "CLibPQ", linkerSettings: [.linkedLibrary("dl")]),

        .testTarget(
            name: "RoutingContractTests", dependencies: ["AMQPMessage", "RoutingContract", "TestSupport", "Yams"],
            swiftSettings: settings),
        .testTarget(
            name: "AMQPTests", dependencies: ["AMQP", "AMQPMessage", "RoutingContract"], swiftSettings: settings),
        // The AMQP client against a real broker, which `deploy/test` starts.
        .testTarget(
            name: "BrokerTests", dependencies: ["AMQP", "AMQPMessage", "RoutingContract", "TestSupport"],
            swiftSettings: settings),
        .testTarget(
            name: "IdempotencyStoreTests",
            dependencies: [
                "IdempotencyStore", "PostgresIdempotencyStore", "RedisIdempotencyStore", "RoutingContract",
                "SQLiteIdempotencyStore", "TestSupport",
            ],
            swiftSettings: settings),
        .testTarget(
            name: "InteractionAPITests",
            dependencies: [
                "InteractionAPI", "InteractionSandbox", "LoopSupport", "RoutingContract", "TestSupport",
                .product(name: "Logging", package: "swift-log"),
                .product(name: "NIOCore", package: "swift-nio"), .product(name: "NIOEmbedded", package: "swift-nio"),
                .product(name: "NIOHTTP1", package: "swift-nio"), .product(name: "NIOPosix", package: "swift-nio"),
                .product(name: "NIOSSL", package: "swift-nio-ssl"),
            ],
            swiftSettings: settings),
        .testTarget(
            name: "InteractionSandboxTests",
            dependencies: [
                "InteractionSandbox", "RoutingContract", "TestSupport",
                .product(name: "AsyncHTTPClient", package: "async-http-client"),
                .product(name: "Crypto", package: "swift-crypto"),
                .product(name: "CryptoExtras", package: "swift-crypto"),
                .product(name: "Logging", package: "swift-log"), .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
            ],
            swiftSettings: settings),
        .testTarget(
            name: "BrokerInspectionTests",
            dependencies: ["AMQPMessage", "BrokerInspection", "RouteWorker", "RoutingContract"], swiftSettings: settings
        ),
        .testTarget(
            name: "FleetControlsTests", dependencies: ["AMQPMessage", "FleetControls", "RoutingContract"],
            swiftSettings: settings),
        .testTarget(
            name: "CommandClientTests", dependencies: ["AMQPMessage", "CommandClient", "RoutingContract"],
            swiftSettings: settings),
        .testTarget(
            name: "DeadLettersTests",
            dependencies: ["AMQPMessage", "DeadLetters", "RoutingContract", "TestSupport", "Yams"],
            swiftSettings: settings),
        .testTarget(
            name: "PartitioningTests", dependencies: ["Partitioning", "RoutingContract"], swiftSettings: settings),
        .testTarget(
            name: "RouteWorkerTests",
            dependencies: [
                "AMQP", "AMQPMessage", "FleetControls", "IdempotencyStore", "InteractionAPI", "LoopSupport",
                "PrometheusMetrics", "RouteWorker", "RoutingContract", "TestSupport", "WorkerLog",
                .product(name: "NIOEmbedded", package: "swift-nio"), .product(name: "NIOPosix", package: "swift-nio"),
            ],
            swiftSettings: settings),
        .testTarget(
            name: "WorkerLogTests",
            dependencies: ["TestSupport", "WorkerLog", .product(name: "Logging", package: "swift-log")],
            swiftSettings: settings),
        .testTarget(
            name: "PrometheusMetricsTests",
            dependencies: ["PrometheusMetrics", .product(name: "CoreMetrics", package: "swift-metrics")],
            swiftSettings: settings),
        .testTarget(
            name: "WorkerSettingsTests", dependencies: ["RoutingContract", "TestSupport", "WorkerSettings"],
            swiftSettings: settings),
        .testTarget(
            name: "IntegrationTests",
            dependencies: [
                "AMQP", "AMQPMessage", "CommandClient", "DeadLetters", "Failpoints", "FleetControls",
                "IdempotencyStore", "InteractionSandbox", "RouteWorker", "RoutingContract", "SQLiteIdempotencyStore",
                "TestSupport", "route-worker",
                .product(name: "AsyncHTTPClient", package: "async-http-client"),
                .product(name: "Logging", package: "swift-log"),
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOHTTP1", package: "swift-nio"),
            ],
            exclude: ["Scripts"],
            swiftSettings: settings),

        // Starts, kills and stops the servers that tests need.
        .target(name: "TestSupport", dependencies: ["AMQP"], path: "Tests/TestSupport", swiftSettings: settings),
    ]
)
