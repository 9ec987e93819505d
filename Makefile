.PHONY: style quality stubs test

style:
	ruff check --fix .
	ruff format .
	git ls-files -z '*.h' '*.cpp' | xargs -0 clang-format -i

quality:
	ruff check .
	ruff format --check .
	git ls-files -z '*.h' '*.cpp' | xargs -0 clang-format --dry-run --Werror
	mypy

stubs:
	python build_tools/stubs.py

test:
	pytest
