// Broker addresses, what is wrong with bad ones, and waiting between attempts.
import RoutingContract
import Testing

@testable import AMQP

@Suite struct EndpointTests {
    @Test func everythingHasADefault() throws {
        let endpoint = try AMQPEndpoint(url: "amqp://")
        #expect(endpoint == AMQPEndpoint(host: "localhost", port: 5672, vhost: "/", user: "guest", password: "guest"))
        #expect(try AMQPEndpoint(url: "AMQPS://broker").port == 5671)
    }

    /// The examples of RabbitMQ's URI specification, appendix A.
    @Test(arguments: [
        ("amqp://user:pass@host:10000/vhost", "user", "pass", "host", 10000, "vhost"),
        ("amqp://user%61:%61pass@ho%61st:10000/v%2fhost", "usera", "apass", "hoast", 10000, "v/host"),
        ("amqp://", "guest", "guest", "localhost", 5672, "/"),
        ("amqp://:@/", "", "", "localhost", 5672, ""),
        ("amqp://user@", "user", "", "localhost", 5672, "/"),
        ("amqp://user:pass@", "user", "pass", "localhost", 5672, "/"),
        ("amqp://host", "guest", "guest", "host", 5672, "/"),
        ("amqp://:10000", "guest", "guest", "localhost", 10000, "/"),
        ("amqp:///vhost", "guest", "guest", "localhost", 5672, "vhost"),
        ("amqp://host/", "guest", "guest", "host", 5672, ""),
        ("amqp://host/%2f", "guest", "guest", "host", 5672, "/"),
        ("amqp://[::1]", "guest", "guest", "::1", 5672, "/"),
        ("amqp://[::1]:5673/a", "guest", "guest", "::1", 5673, "a"),
        ("amqp://u:p%40%3A%2F%3F%23%25@host", "u", "p@:/?#%", "host", 5672, "/"),
        ("amqp://u:a:b@c@host", "u", "a:b@c", "host", 5672, "/"),
    ])
    func addressesAreTakenApart(
        url: String, user: String, password: String, host: String, port: Int, vhost: String
    ) throws {
        let endpoint = try AMQPEndpoint(url: url)
        #expect(endpoint == AMQPEndpoint(host: host, port: port, vhost: vhost, user: user, password: password))
    }

    @Test func queryItemsAreRead() throws {
        let endpoint = try AMQPEndpoint(
            url: "amqps://host?heartbeat=7&connection_timeout=2500&rpc_timeout=900&cacertfile=%2Fca.pem&certfile=/c.pem"
                + "&keyfile=/k.pem&hostname_check=off&verify=verify_peer")
        #expect(endpoint.heartbeat == .seconds(7))
        #expect(endpoint.connectionTimeout == .milliseconds(2500))
        #expect(endpoint.rpcTimeout == .milliseconds(900))
        #expect(
            endpoint.tls
                == TLSSettings(
                    certificateAuthorities: "/ca.pem", certificate: "/c.pem", privateKey: "/k.pem",
                    checksHostName: false))
        #expect(try AMQPEndpoint(url: "amqps://host").tls == TLSSettings())
        #expect(TLSSettings().checksHostName)
    }

    @Test(arguments: [
        ("", "amqp://"), ("http://host", "amqp://"), ("amqp:/host", "amqp://"), ("amqp://host:0", "port"),
        ("amqp://host:65536", "port"), ("amqp://host:x", "port"), ("amqp://[::1", "']'"), ("amqp://[::1]x", "']'"),
        ("amqp://host/a/b", "%2F"), ("amqp://host/%2", "hexadecimal"), ("amqp://host/%zz", "hexadecimal"),
        ("amqp://host/%ff", "UTF-8"), ("amqp://u:%00@host", "UTF-8"), ("amqp://host#x", "fragment"),
        ("amqp://host?heartbeat=-1", "heartbeat"), ("amqp://host?heartbeat", "heartbeat"),
        ("amqp://host?connection_timeout=5", "milliseconds"), ("amqp://host?colour=red", "colour"),
        ("amqp://host?cacertfile=/x", "amqps"), ("amqps://host?certfile=/x", "keyfile"),
        ("amqps://host?hostname_check=maybe", "hostname_check"), ("amqps://host?verify=verify_none", "cacertfile"),
        ("amqps://host?cacertfile=", "empty"),
    ])
    func badAddressesSayWhatIsWrong(url: String, hint: String) {
        let error = #expect(throws: AMQPError.self) { try AMQPEndpoint(url: url) }
        #expect(error?.description.contains(hint) == true, "\(error?.description ?? "")")
        #expect(error?.remedy == .operatorMustAct)
    }

    @Test func passwordIsNeverShown() throws {
        let endpoint = try AMQPEndpoint(url: "amqp://user:s3cret@host/v")
        var dumped = ""
        dump(endpoint, to: &dumped)
        for text in ["\(endpoint)", String(reflecting: endpoint), dumped, "\([endpoint])"] {
            #expect(!text.contains("s3cret") && text.contains("user@host"))
        }
        for url in [
            "amqp://u:s3cret%zz@host", "amqp://u:s3cret/@host", "amqp://u:s3c:ret@host:x", "amqp://u:s3cret#@host",
        ] {
            let error = #expect(throws: AMQPError.self) { try AMQPEndpoint(url: url) }
            #expect(error?.description.contains("s3c") == false, "\(error?.description ?? "")")
        }
    }

    @Test func anyTextIsAnswered() {
        let seed = UInt64.random(in: .min ... .max)
        print("seed \(seed)")
        var random = SeededGenerator(seed: seed)
        let alphabet = Array("amqps:/@?#[]%=&0159azé\u{0}.- ")
        for _ in 0..<20_000 {
            let tail = (0..<Int.random(in: 0...30, using: &random)).compactMap { _ in
                alphabet.randomElement(using: &random)
            }
            _ = try? AMQPEndpoint(url: "amqp" + (Bool.random(using: &random) ? "://" : "s://") + String(tail))
        }
    }

    @Test func noBrokerIsRefused() {
        #expect(throws: AMQPError.self) { try AMQPConfiguration(urls: [], connectionName: "x") }
    }
}

@Suite struct BackoffTests {
    @Test func boundDoublesUpToTheMaximum() {
        var highest = Highest()
        let backoff = Backoff(minimum: .milliseconds(100), maximum: .seconds(2))
        let delays = (1...8).map { backoff.delay(afterFailures: $0, using: &highest) }
        let expected: [Duration] = [100, 200, 400, 800, 1600, 2000, 2000, 2000].map { .milliseconds($0) }
        for (delay, bound) in zip(delays, expected) {
            #expect(delay <= bound && delay > bound * 0.99)
        }
        #expect(backoff.delay(afterFailures: .max, using: &highest) <= .seconds(2))
        #expect(backoff.delay(afterFailures: 0, using: &highest) <= .milliseconds(100))
    }

    @Test func jitterIsFull() {
        var random = SeededGenerator(seed: 7)
        let backoff = Backoff(minimum: .seconds(1), maximum: .seconds(1))
        let delays = (0..<1000).map { _ in backoff.delay(afterFailures: 1, using: &random) }
        #expect(delays.contains { $0 < .milliseconds(50) } && delays.contains { $0 > .milliseconds(950) })
    }

    /// Gives the highest number each time.
    private struct Highest: RandomNumberGenerator {
        mutating func next() -> UInt64 { .max }
    }
}
