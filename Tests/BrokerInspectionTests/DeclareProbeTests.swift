// Learning how a queue was declared from refusals, in the words of RabbitMQ 3.10.

import AMQPMessage
import Testing

@testable import BrokerInspection

@Suite("Learning how a queue was declared")
struct DeclareProbeTests {
    private func refusal(_ name: String, _ current: String) -> String {
        "PRECONDITION_FAILED - inequivalent arg '\(name)' for queue 'a but current is b' in vhost '/': received none but "
            + "current is \(current)"
    }

    @Test("Takes over every value that is named")
    func learns() {
        var probe = DeclareProbe(queue(.commands))
        let said: [String] = [
            refusal("durable", "'false'"), refusal("auto_delete", "'true'"), refusal("x-queue-type", "'classic'"),
            refusal("x-dead-letter-exchange", "none"),
            refusal("x-delivery-limit", "'3'"),
            "PRECONDITION_FAILED - invalid arg 'x-delivery-limit' for queue 'q' in vhost '/' of queue type rabbit_classic_queue",
            refusal("x-message-ttl", "the value '500' of type 'signedint'"),
            refusal("x-single-active-consumer", "the value 'true' of type 'bool'"),
            refusal("x-dead-letter-routing-key", "the value 'it's' of type 'longstr'"),
        ]
        for text in said {
            let isUnderstood = probe.learn(text)
            #expect(isUnderstood, "\(text)")
        }
        #expect(
            probe.facts
                == QueueFacts(
                    kind: .classic, isDurable: false, isAutoDelete: true,
                    arguments: [
                        "queue-type": .text("classic"), "overflow": .text("reject-publish"),
                        "dead-letter-strategy": .text("at-least-once"), "message-ttl": .number(500),
                        "single-active-consumer": .flag(true), "dead-letter-routing-key": .text("it's"),
                    ]))
    }

    @Test("Gives up on what it cannot read, and on what leads nowhere")
    func givesUp() {
        var probe = DeclareProbe(queue(.commands))
        for text in [
            "", "something else", "inequivalent arg 'x-expires' for queue", refusal("exclusive", "'true'"),
            refusal("x-queue-type", "'quorum'"), "invalid arg 'x-unknown' for queue 'q'",
        ] {
            let isUnderstood = probe.learn(text)
            #expect(!isUnderstood, "\(text)")
        }
    }
}
