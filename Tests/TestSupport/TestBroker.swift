// What the environment of a test run provides, set up by `deploy/test`.

import Foundation

/// Something that `deploy/test` provides is missing. A test that needs it fails; it is never skipped.
public struct MissingFromEnvironment: Error, CustomStringConvertible {
    public var variable: String
    public var description: String { "\(variable) is not set: run the tests with `deploy/test`" }
}

/// The RabbitMQ that all tests of a run share. Tests declare queues of their own there, see ``uniqueName(_:)``.
public enum TestBroker {
    /// The value of `AMQP_URL`.
    public static var url: String { get throws { try environment("AMQP_URL") } }
}

/// The PostgreSQL and the Redis that all tests of a run share. Tests keep apart by names of their own, see
/// ``uniqueName(_:)``.
public enum TestDatabase: String, Sendable, CaseIterable {
    case postgres
    case redis

    /// The value of `POSTGRES_URL` or `REDIS_URL`.
    public var url: String { get throws { try environment("\(rawValue.uppercased())_URL") } }
}

/// A Python that has pika and openapi-core, for tests with a client or a validator that is not ours.
public enum TestPython {
    public static var interpreter: String { get throws { try environment("ROUTE_WORKER_TEST_PYTHON") } }
}

private func environment(_ variable: String) throws -> String {
    guard let value = ProcessInfo.processInfo.environment[variable], !value.isEmpty else {
        throw MissingFromEnvironment(variable: variable)
    }
    return value
}

/// `PREFIX-` and eight random hexadecimal digits: tests run at the same time on one broker.
public func uniqueName(_ prefix: String) -> String {
    let digits = String(UInt32.random(in: .min ... .max), radix: 16)
    return prefix + "-" + String(repeating: "0", count: 8 - digits.count) + digits
}
