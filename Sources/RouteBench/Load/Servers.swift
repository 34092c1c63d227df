// The servers that a run is measured against, given from outside.

import AMQP
import ArgumentParser
import Foundation

/// A store that a worker may use.
enum StoreKind: String, CaseIterable, Codable, ExpressibleByArgument, Sendable {
    case memory, sqlite, postgres, redis
}

enum QueueKind: String, CaseIterable, Codable, ExpressibleByArgument, Sendable {
    case classic, quorum
}

/// Where the servers are, and which processes they are.
struct Servers: Sendable {
    let amqpURL: String
    let postgresURL: String?
    let redisURL: String?
    let brokerPID: Int32?
    private let postgresPID: Int32?
    private let redisPID: Int32?

    init(environment: [String: String] = ProcessInfo.processInfo.environment) throws {
        guard let amqp = environment["AMQP_URL"] else {
            throw BenchFailure("AMQP_URL is not set; deploy/bench/run starts the servers and sets it")
        }
        amqpURL = amqp
        postgresURL = environment["POSTGRES_URL"]
        redisURL = environment["REDIS_URL"]
        brokerPID = environment["BENCH_BROKER_PID"].flatMap { Int32($0) }
        postgresPID = environment["BENCH_POSTGRES_PID"].flatMap { Int32($0) }
        redisPID = environment["BENCH_REDIS_PID"].flatMap { Int32($0) }
    }

    func broker(_ name: String) throws -> AMQPConfiguration {
        try AMQPConfiguration(urls: [amqpURL], connectionName: "bench \(name)")
    }

    /// The `store.url` of a worker; SQLite gets a new file in the folder.
    func url(of store: StoreKind, in folder: BenchFolder) throws -> String {
        switch store {
        case .memory: return "memory:"
        case .sqlite: return "sqlite:\(folder.newPath("store.db"))"
        case .postgres:
            guard let postgresURL else { throw BenchFailure("POSTGRES_URL is not set") }
            return postgresURL
        case .redis:
            guard let redisURL else { throw BenchFailure("REDIS_URL is not set") }
            return redisURL
        }
    }

    func brokerTime() -> ProcessorTime {
        brokerPID.map { ProcessFigures.timeWithChildren(of: $0) } ?? ProcessorTime()
    }

    /// Of the store's server; a store inside the worker has none.
    func time(of store: StoreKind?) -> ProcessorTime {
        switch store {
        case .postgres: postgresPID.map(ProcessFigures.timeWithChildren) ?? ProcessorTime()
        case .redis: redisPID.map(ProcessFigures.timeWithChildren) ?? ProcessorTime()
        case .memory, .sqlite, nil: ProcessorTime()
        }
    }
}

/// A folder for what a benchmark leaves on the disk; removed with the last reference.
final class BenchFolder: Sendable {
    let url: URL

    init() throws {
        url = FileManager.default.temporaryDirectory.appendingPathComponent("route-bench-\(UUID().uuidString)")
        try FileManager.default.createDirectory(
            at: url, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
    }

    deinit { try? FileManager.default.removeItem(at: url) }

    /// A path that has not been used before.
    func newPath(_ name: String) -> String {
        url.appendingPathComponent("\(UInt64.random(in: .min ... .max))-\(name)").path
    }
}
