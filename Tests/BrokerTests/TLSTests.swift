// TLS to the broker: whom we trust, whom we take it for, and who we say we are.

import AMQP
import Foundation
import TestSupport
import Testing

@Suite struct TLSTests {
    private let timeout: Duration = .seconds(30)

    @Test func aTrustedBrokerOfTheRightNameIsSpokenTo() async throws {
        let keys = try await TestKeys()
        try await withPrivateBroker(tls: keys.server) { broker in
            var endpoint = try AMQPEndpoint(url: #require(broker.tlsURL))
            endpoint.tls = TLSSettings(certificateAuthorities: keys.path("trusted.pem"))
            #expect(try await connect(endpoint))

            let configuration = try AMQPConfiguration(endpoints: [endpoint], connectionName: "tls")
            try await AMQPAdmin.withConnection(configuration) { try await $0.declareQueue("tls") }
            let publisher = try AMQPPublisher(configuration)
            publisher.start()
            let large = String(repeating: "x", count: 3_000_000)
            let outcomes = await publisher.publish(
                [outgoing(large, to: "tls"), outgoing("", to: "tls")], timeout: timeout)
            #expect(outcomes == [.confirmed, .confirmed])
            await publisher.close()

            endpoint.host = "127.0.0.1"
            await #expect(throws: AMQPError.tls(.hostNameMismatch("127.0.0.1"))) { try await connect(endpoint) }
            endpoint.tls?.checksHostName = false
            #expect(try await connect(endpoint))
            endpoint.tls?.certificateAuthorities = keys.path("stranger.pem")
            await #expect(throws: AMQPError.tls(.untrustedCertificate)) { try await connect(endpoint) }
            endpoint.tls?.certificateAuthorities = nil
            await #expect(throws: AMQPError.tls(.untrustedCertificate)) { try await connect(endpoint) }
            endpoint.tls?.certificateAuthorities = keys.path("missing.pem")
            await #expect(throws: AMQPError.tls(.unusableFile(keys.path("missing.pem")))) {
                try await connect(endpoint)
            }
        }
    }

    @Test func aBrokerThatAsksForACertificateGetsOurs() async throws {
        let keys = try await TestKeys()
        try await keys.sign("client", by: "trusted", name: "worker")
        try await keys.sign("impostor", by: "stranger", name: "worker")
        try await withPrivateBroker(
            tls: keys.server, settings: ["ssl_options.fail_if_no_peer_cert = true"]
        ) { broker in
            var endpoint = try AMQPEndpoint(url: #require(broker.tlsURL))
            endpoint.tls = TLSSettings(
                certificateAuthorities: keys.path("trusted.pem"), certificate: keys.path("client.pem"),
                privateKey: keys.path("client.key"))
            #expect(try await connect(endpoint))
            endpoint.tls?.certificate = keys.path("impostor.pem")
            endpoint.tls?.privateKey = keys.path("impostor.key")
            await #expect(throws: AMQPError.self) { try await connect(endpoint) }
            endpoint.tls?.certificate = nil
            endpoint.tls?.privateKey = nil
            await #expect(throws: AMQPError.self) { try await connect(endpoint) }
        }
    }

    private func connect(_ endpoint: AMQPEndpoint) async throws -> Bool {
        try await AMQPAdmin.withConnection(
            AMQPConfiguration(endpoints: [endpoint], connectionName: "tls")
        ) { try await $0.hasExchange("amq.direct") }
    }
}
